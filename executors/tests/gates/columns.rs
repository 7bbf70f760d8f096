//! The application must meet the same columns where it is to write.

use journal::{Effect, GateMode};

use crate::fixture::{Fixture, tables};

#[tokio::test]
async fn a_default_that_was_changed_on_one_side_is_named_before_a_switch() {
    let (source, target) = Fixture::both().await;
    for side in [&source, &target] {
        side.mover()
            .await
            .batch_execute(
                "drop table t;
                 create table t (id bigint generated always as identity primary key, a text default 'q', b serial, c int,
                                 d int generated always as (c * 2) stored)",
            )
            .await
            .unwrap();
        side.prepare(GateMode::Closed).await;
    }
    let compare = || Effect::CompareColumns { side: target.side, tables: tables() };
    assert_eq!(target.done(compare()).await.unwrap()["columns"], "5");
    source
        .mover()
        .await
        .batch_execute("alter table t alter a set default 'neu'; alter table t alter c set not null; alter table t add e int")
        .await
        .unwrap();
    let finding = target.done(compare()).await.unwrap_err();
    assert_eq!(finding.code, "SW-0403");
    for expected in [
        "a of public.t: `text default 'q'::text` at the target, `text default 'neu'::text` at the source",
        "c of public.t: `integer` at the target, `integer not null` at the source",
        "e of public.t: `is not there` at the target, `integer` at the source",
    ] {
        assert!(finding.what.contains(expected), "{expected} is not in: {}", finding.what);
    }
}
