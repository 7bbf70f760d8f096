//! Publications, origins and slots.

use std::process::{Command, Stdio};
use std::time::Duration;

use executors::{Acted, Probe, Receiver};
use journal::{Effect, GateMode};
use product::cluster::Role;

use crate::fixture::{Fixture, tables, wait};

const NAME: &str = "switchyard_move_region_a_1_forward";

#[tokio::test]
async fn a_publication_is_ours_another_s_or_changed() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let mover = fixture.mover().await;
    let create =
        || Effect::CreatePublication { side: fixture.side, publication: NAME.to_owned(), tables: tables() };
    mover.batch_execute(&format!("create publication {NAME} for table t")).await.unwrap();
    let (spec, at) = fixture.next(create());
    assert!(matches!(fixture.receiver.probe(&spec, at).await, Probe::Foreign(_)));
    mover.batch_execute(&format!("drop publication {NAME}")).await.unwrap();
    fixture.finish(&spec, at).await.unwrap();
    let row = mover.query_one("select pubtruncate and pubinsert from pg_publication", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    mover.batch_execute(&format!("alter publication {NAME} set (publish = 'insert')")).await.unwrap();
    let Probe::Differs(finding) = fixture.receiver.probe(&spec, at).await else { panic!("it was changed") };
    assert_eq!(finding.code, "SW-0510");
    let gone = Effect::DropPublication { side: fixture.side, publication: NAME.to_owned() };
    fixture.done(gone).await.unwrap();
    let left: i64 = mover.query_one("select count(*) from pg_publication", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_origin_is_adopted_by_name_and_dropped_from_under_a_session_of_ours_alone() {
    let fixture = Fixture::alone().await;
    // Before our schema is there.
    let create = || Effect::CreateOrigin { side: fixture.side, origin: NAME.to_owned() };
    fixture.done(create()).await.unwrap();
    fixture.prepare(GateMode::Open).await;
    fixture.done(create()).await.unwrap();
    let setup = format!("select pg_replication_origin_session_setup('{NAME}')");
    let stranger = fixture.mover().await;
    stranger.batch_execute(&setup).await.unwrap();
    let remove = Effect::DropOrigin { side: fixture.side, origin: NAME.to_owned() };
    let (spec, at) = fixture.next(remove);
    assert_eq!(fixture.receiver.probe(&spec, at).await, Probe::Absent);
    let Acted::Definite(error) = fixture.receiver.act(&spec, at).await else { panic!("a stranger holds it") };
    assert!(error.to_string().contains("is not ours"), "{error}");
    drop(stranger);
    let ours = fixture.database().connect().await.unwrap();
    wait("the stranger has gone", || async { ours.batch_execute(&setup).await.is_ok() }).await;
    fixture.finish(&spec, at).await.unwrap();
    let left: i64 = fixture
        .mover()
        .await
        .query_one("select count(*) from pg_replication_origin", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
    assert!(ours.batch_execute("select 1").await.is_err());
}

#[tokio::test]
async fn a_slot_is_dropped_from_under_our_own_reader_and_its_absence_is_the_proof() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let mover = fixture.mover().await;
    mover.batch_execute(&format!("create publication {NAME} for table t")).await.unwrap();
    let slot = format!("select pg_create_logical_replication_slot('{NAME}', 'pgoutput')");
    mover.batch_execute(&slot).await.unwrap();
    let reader = product::process::find_program("pg_recvlogical").unwrap();
    let mut reader = Command::new(reader)
        .args(["--start", "--no-loop", "-S", NAME, "-f", "/dev/null", "-o", "proto_version=1"])
        .args(["-o", &format!("publication_names={NAME}"), "-d", &fixture.cluster.url(Role::Mover)])
        .env("PGAPPNAME", "switchyard move")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait("the slot is read", || async {
        mover.query_one("select active from pg_replication_slots", &[]).await.unwrap().get(0)
    })
    .await;
    let (spec, at) = fixture.next(Effect::DropSlot { side: fixture.side, slot: NAME.to_owned() });
    assert_eq!(fixture.receiver.probe(&spec, at).await, Probe::Absent);
    let dropped = tokio::time::timeout(Duration::from_secs(20), fixture.finish(&spec, at)).await;
    reader.kill().ok();
    reader.wait().unwrap();
    dropped.unwrap().unwrap();
    let left: i64 = mover.query_one("select count(*) from pg_replication_slots", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
    // A slot of the name that we would never make.
    mover
        .batch_execute(&format!("select pg_create_logical_replication_slot('{NAME}', 'test_decoding')"))
        .await
        .unwrap();
    let (spec, at) = fixture.next(Effect::DropSlot { side: fixture.side, slot: NAME.to_owned() });
    assert!(matches!(fixture.receiver.probe(&spec, at).await, Probe::Foreign(_)));
}
