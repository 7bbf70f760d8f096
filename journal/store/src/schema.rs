//! The journal's own schema as sqlx's migrations, in the order of their numbers.
//!
//! sqlx has a macro that reads the folder; it would have every build compile both drivers twice, once for the
//! compiler's use. So each backend names its files, and a test looks that none is missing.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The versions of a backend's schema: what each brings, and its text. The first is version 1.
pub(crate) fn versions(files: &[(&'static str, &'static str)]) -> Migrator {
    let each = (1..).zip(files).map(|(version, (brings, text))| {
        Migration::new(version, (*brings).into(), MigrationType::Simple, text.into_sql_str(), false)
    });
    Migrator::with_migrations(each.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use sqlx::migrate::Migrator;

    /// Whether the versions are the files of the backend's folder.
    pub(crate) async fn holds(versions: &Migrator, folder: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations").join(folder);
        let files = Migrator::new(&*folder).await.expect("the folder is read");
        let key =
            |one: &sqlx::migrate::Migration| (one.version, one.description.clone(), one.checksum.clone());
        let named: Vec<_> = versions.iter().map(key).collect();
        let found: Vec<_> = files.iter().map(key).collect();
        assert_eq!(named, found, "the folder and the list in the code differ");
    }
}
