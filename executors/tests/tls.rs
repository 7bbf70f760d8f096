//! What each `sslmode` lets through, against a server that takes encrypted connections alone and one that takes none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use executors::Cause;
use executors::postgres::database::Database;
use executors::postgres::wire::ReplicationConnection;
use journal::{MigrationName, Side};
use product::cluster::{Cluster, Role};
use runtime::{Scrubber, Secret};

fn database(url: &str) -> Result<Database, Cause> {
    let migration = MigrationName::new("move").unwrap();
    Database::new(Side::Source, migration, &Secret::new(url), &Scrubber::default())
}

/// Whether both kinds of connection come through, and are encrypted.
async fn reach(url: &str) -> Result<bool, Cause> {
    let database = database(url)?;
    let session = database.session().await?;
    let mut replication = ReplicationConnection::connect(&database).await?;
    replication.create_slot("tried", true).await.unwrap();
    let row = session
        .query_one(
            "select count(*), bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
                    where application_name = 'switchyard move'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 2, "the session and the replication connection");
    Ok(row.get(1))
}

fn trusting(cluster: &Cluster, mode: &str, authority: &Path) -> String {
    format!("{}?sslmode={mode}&sslrootcert={}", cluster.url(Role::Mover), authority.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_as_secret_as_sslmode_says() {
    let (here, elsewhere, plain) =
        futures::future::join3(Cluster::start("here"), Cluster::start("elsewhere"), Cluster::start("plain"))
            .await;
    let (here, elsewhere, plain) = (here.unwrap(), elsewhere.unwrap(), plain.unwrap());
    let authority = here.speak_tls("127.0.0.1").await.unwrap();
    let other_authority = elsewhere.speak_tls("db.example.net").await.unwrap();

    // Without a word it is encrypted where the server can, and in the clear where it cannot.
    assert!(reach(&here.url(Role::Mover)).await.unwrap());
    assert!(!reach(&plain.url(Role::Mover)).await.unwrap());
    for mode in ["allow", "prefer", "require"] {
        assert!(reach(&format!("{}?sslmode={mode}", here.url(Role::Mover))).await.unwrap(), "{mode}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        assert!(reach(&trusting(&here, mode, &authority)).await.unwrap(), "{mode}");
        reach(&trusting(&here, mode, &other_authority)).await.unwrap_err();
        reach(&trusting(&plain, mode, &authority)).await.unwrap_err();
    }
    // The right authority's certificate for another host.
    assert!(reach(&trusting(&elsewhere, "verify-ca", &other_authority)).await.unwrap());
    let refused =
        reach(&trusting(&elsewhere, "verify-full", &other_authority)).await.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    // In the clear, where the server wants otherwise.
    reach(&format!("{}?sslmode=disable", here.url(Role::Mover))).await.unwrap_err();
}
