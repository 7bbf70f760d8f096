//! One entry of pgbouncer's configuration file, rewritten in place. Everything else stays byte for byte.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;

/// A connect string's pairs, in their order.
pub(super) type Pairs = Vec<(String, String)>;

/// Reads `key=value` pairs as pgbouncer does: values may be quoted by `'`, which is doubled within.
pub(super) fn pairs(text: &str) -> Result<Pairs, String> {
    let mut found = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        // What is in the way is not shown: it may be the rest of a password that should have been quoted.
        let expected = || {
            let pair = found.len() + 1;
            format!(
                "its pair {pair} is not key=value, divided from the next by a space; a value with spaces stands in '…'"
            )
        };
        let (key, after) = rest.split_once('=').ok_or_else(expected)?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(expected());
        }
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('\'') {
            Some(quoted) => {
                unquoted(quoted, '\'').ok_or_else(|| format!("the value of `{key}` has no closing quote"))?
            }
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                let (value, left) = after.split_at(end);
                (value.to_owned(), left)
            }
        };
        found.push((key.to_owned(), value));
        rest = left.trim_start();
    }
    Ok(found)
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (head, tail) = rest.split_once(quote)?;
        value.push_str(head);
        match tail.strip_prefix(quote) {
            Some(more) => {
                value.push(quote);
                rest = more;
            }
            None => return Some((value, tail)),
        }
    }
}

fn render(pairs: &Pairs) -> String {
    let words: Vec<String> = pairs
        .iter()
        .map(|(key, value)| {
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '\'') {
                format!("{key}='{}'", value.replace('\'', "''"))
            } else {
                format!("{key}={value}")
            }
        })
        .collect();
    words.join(" ")
}

/// The entry's new pairs: those of `new`, without what only `old` names, and the rest (`pool_size=…`) as it stands.
fn merged(entry: &Pairs, new: &Pairs, old: &Pairs) -> Pairs {
    let value = |pairs: &Pairs, key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    let mut kept = Pairs::new();
    for (key, was) in entry {
        match value(new, key) {
            Some(now) => kept.push((key.clone(), now)),
            None if value(old, key).is_some() => {}
            None => kept.push((key.clone(), was.clone())),
        }
    }
    for (key, now) in new {
        if value(&kept, key).is_none() {
            kept.push((key.clone(), now.clone()));
        }
    }
    kept
}

/// Where an entry's value stands in the file.
fn find(text: &str, name: &str) -> Result<Range<usize>, String> {
    let mut found: Option<Range<usize>> = None;
    let mut is_databases = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let trimmed = line.trim();
        if let Some(section) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_databases = section.trim() == "databases";
            continue;
        }
        if !is_databases || trimmed.starts_with([';', '#']) {
            continue;
        }
        let (key, after) = match trimmed.strip_prefix('"') {
            Some(quoted) => match unquoted(quoted, '"') {
                Some((key, rest)) => (key, rest),
                None => continue,
            },
            None => {
                let end = trimmed.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(trimmed.len());
                let (key, rest) = trimmed.split_at(end);
                (key.to_owned(), rest)
            }
        };
        let Some(value) = after.trim_start().strip_prefix('=') else { continue };
        if key != name {
            continue;
        }
        let value = value.trim();
        // `trimmed` ends where the value does.
        let end = start + line.trim_end().len();
        if found.replace(end - value.len()..end).is_some() {
            return Err(format!("[databases] names `{name}` twice"));
        }
    }
    found.ok_or_else(|| {
        format!("[databases] has no entry `{name}` of its own (includes and `*` are not followed)")
    })
}

/// An entry's pairs as the file has them.
pub(super) fn entry(path: &Path, name: &str) -> Result<Pairs, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let at = find(&text, name)?;
    pairs(text.get(at).unwrap_or_default())
}

/// The file's text with the entry pointing at `new` instead of `old`.
fn repointed(text: &str, name: &str, new: &Pairs, old: &Pairs) -> Result<String, String> {
    let at = find(text, name)?;
    let value = text.get(at.clone()).unwrap_or_default();
    let changed = render(&merged(&pairs(value)?, new, old));
    let (before, after) = (text.get(..at.start).unwrap_or_default(), text.get(at.end..).unwrap_or_default());
    Ok(format!("{before}{changed}{after}"))
}

/// The file, as one that can be changed: where it really is, with its folder held.
struct Held {
    real: PathBuf,
    folder: PathBuf,
    lock: File,
}

fn said(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("{} {what}: {error}", path.display())
}

/// Finds the file and takes its folder's lock. A link is followed, so that the link stays one.
fn held(path: &Path) -> Result<Held, String> {
    let real = path.canonicalize().map_err(|error| said(path, "cannot be found", &error))?;
    let folder = real.parent().ok_or_else(|| format!("{} has no folder", real.display()))?.to_owned();
    let lock =
        File::open(&folder).map_err(|error| said(path, "has a folder that cannot be opened", &error))?;
    // Another phase's entry in the same file may be rewritten at the same time; the lock goes with the handle.
    lock.lock().map_err(|error| said(path, "has a folder that cannot be locked", &error))?;
    Ok(Held { real, folder, lock })
}

/// Whether the file can be replaced, as far as that can be known without doing it. Blocks.
pub(super) fn is_replaceable(path: &Path) -> Result<(), String> {
    let Held { real, folder, .. } = held(path)?;
    let metadata = fs::metadata(&real).map_err(|error| said(path, "cannot be read", &error))?;
    accessat(CWD, &folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(|error| {
        format!(
            "{} cannot be replaced, since nothing can be written in {}: {error}",
            path.display(),
            folder.display()
        )
    })?;
    let me = geteuid();
    if !me.is_root() && metadata.uid() != me.as_raw() {
        return Err(format!(
            "{} cannot be replaced with its owner: it is user {}'s, and this program runs as user {}",
            path.display(),
            metadata.uid(),
            me.as_raw()
        ));
    }
    Ok(())
}

/// Replaces the file's text by what `change` makes of it. Atomic: the file is the old or the new one, whenever the machine
/// stops. Blocks.
pub(super) fn rewrite(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, String>,
) -> Result<(), String> {
    let Held { real, folder, lock } = held(path)?;
    let text = fs::read_to_string(&real).map_err(|error| said(path, "cannot be read", &error))?;
    let changed = change(&text)?;
    if changed == text {
        return Ok(());
    }
    let file_name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let next = folder.join(format!(".{file_name}.switchyard"));
    let metadata = fs::metadata(&real).map_err(|error| said(path, "cannot be read", &error))?;
    let write = || -> std::io::Result<()> {
        // What a crash left has no use, and may have another owner or mode.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&next)?;
        file.set_permissions(metadata.permissions())?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
            chown(&next, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        file.write_all(changed.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &real)?;
        lock.sync_all()
    };
    write().map_err(|error| said(path, "cannot be rewritten with its owner, group and mode", &error))
}

/// Points an entry at `new` instead of `old`. Atomic. Blocks.
pub(super) fn repoint(path: &Path, name: &str, new: &Pairs, old: &Pairs) -> Result<(), String> {
    rewrite(path, |text| repointed(text, name, new, old))
}

/// The entry that a rehearsal adds. Nothing listens where it leads.
fn mark_line(mark: &str) -> String {
    format!("\n{mark} = host=127.0.0.1 port=1 dbname={mark}")
}

/// The text with the rehearsal's own entry behind the one named.
pub(super) fn marked(text: &str, name: &str, mark: &str) -> Result<String, String> {
    let clean = unmarked(text, mark);
    let at = find(&clean, name)?;
    let (before, after) = clean.split_at_checked(at.end).unwrap_or((&clean, ""));
    Ok(format!("{before}{}{after}", mark_line(mark)))
}

/// The text without it, byte for byte as it was.
pub(super) fn unmarked(text: &str, mark: &str) -> String {
    text.replace(&mark_line(mark), "")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FILE: &str = "; head\r\n[databases]\r\n# shop = host=no\r\nshop = host=a port=5432 dbname=shop pool_size=7\r\n\
        \"odd name\"=host='a b' dbname='it''s'  \n* = host=z\n[pgbouncer]\nshop = 1\npool_mode = transaction";

    fn read(text: &str) -> Pairs {
        pairs(text).unwrap()
    }

    #[test]
    fn only_the_entry_changes_and_going_back_restores_every_byte() {
        let (source, target) = (read("host=a port=5432 dbname=shop"), read("host=b port=6000 dbname=shop"));
        let there = repointed(FILE, "shop", &target, &source).unwrap();
        assert_eq!(there, FILE.replace("host=a port=5432", "host=b port=6000"));
        assert_eq!(repointed(&there, "shop", &source, &target).unwrap(), FILE);
    }

    #[test]
    fn a_key_that_only_the_old_side_names_goes() {
        let (source, target) = (read("host=a port=5432 dbname=shop"), read("host=b dbname=shop user=x"));
        let there = repointed(FILE, "shop", &target, &source).unwrap();
        assert!(there.contains("shop = host=b dbname=shop pool_size=7 user=x\r\n"), "{there}");
    }

    #[test]
    fn quoted_names_and_values_are_read() {
        let at = find(FILE, "odd name").unwrap();
        assert_eq!(read(FILE.get(at).unwrap()), read("host='a b' dbname='it''s'"));
        assert!(find(FILE, "nope").unwrap_err().contains("no entry"));
        assert!(find("[databases]\na=host=x\na=host=y\n", "a").unwrap_err().contains("twice"));
        assert!(pairs("host").is_err() && pairs("host='x").is_err());
        for secret in
            ["password=two words host=x", "password=two words", "password='two words", "two words=x"]
        {
            let said = pairs(secret).unwrap_err();
            assert!(!said.contains("two") && !said.contains("words"), "{said}");
        }
    }

    #[test]
    fn a_rehearsal_adds_an_entry_of_its_own_and_leaves_every_byte_as_it_was() {
        for file in [FILE, "[databases]\nshop=host=a dbname=b  \n", "[databases]\nshop=host=a dbname=b"] {
            let marked = marked(file, "shop", "_rehearsal_a").unwrap();
            assert!(find(&marked, "_rehearsal_a").is_ok() && find(&marked, "shop").is_ok(), "{marked}");
            assert_eq!(unmarked(&marked, "_rehearsal_a"), file);
            let again = super::marked(&marked, "shop", "_rehearsal_a").unwrap();
            assert_eq!(again, marked, "what a crash left is not doubled");
        }
        assert!(marked(FILE, "nope", "_rehearsal_a").is_err());
    }

    #[test]
    fn the_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.ini"), folder.path().join("link.ini"));
        fs::write(&real, FILE).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        repoint(&link, "shop", &read("host=b port=1 dbname=shop"), &read("host=a port=5432 dbname=shop"))
            .unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(entry(&link, "shop").unwrap(), read("host=b port=1 dbname=shop pool_size=7"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
