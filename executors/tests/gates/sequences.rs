//! Sequences only ever go forward.

use executors::{Acted, Receiver};
use journal::{Effect, GateMode};

use crate::fixture::{Fixture, tables};

const TABLE: &str = "drop table t;
    create sequence spare start 5;
    create table t (id bigint generated always as identity primary key, small smallserial,
                    odd bigint default nextval('spare'), never serial);
    alter sequence spare increment 2 restart with 5";

#[tokio::test]
async fn a_side_about_to_open_draws_past_every_value_of_either_side_and_never_goes_back() {
    let (source, target) = Fixture::both().await;
    for side in [&source, &target] {
        side.mover().await.batch_execute(TABLE).await.unwrap();
        side.prepare(GateMode::Closed).await;
    }
    let (here, there) = (target.mover().await, source.mover().await);
    there.batch_execute("select setval('t_id_seq', 5000); select setval('spare', 77)").await.unwrap();
    // A row above both sequences: somebody wrote the value himself.
    here.batch_execute(
        "set session_replication_role = replica;
         insert into t overriding system value values (9000, 3, 40, 1); select setval('t_small_seq', 32000);
         select setval('spare', 9)",
    )
    .await
    .unwrap();
    let advance = || Effect::AdvanceSequences { side: target.side, tables: tables(), alone: false };
    let (spec, at) = target.next(advance());
    let evidence = target.finish(&spec, at).await.unwrap();
    let last = async |name: &str| -> i64 {
        here.query_one(&format!("select last_value from {name}"), &[]).await.unwrap().get(0)
    };
    assert_eq!(last("t_id_seq").await, 10_000, "{evidence:?}");
    assert_eq!(last("spare").await, 1077, "past 77, and still odd");
    assert_eq!(last("t_small_seq").await, 32_007, "with less headroom towards its end");
    assert!(evidence["public.spare"].starts_with("9 → "), "{evidence:?}");
    // Doing it again, or after others drew, never takes anything back.
    here.batch_execute("select setval('spare', 50001)").await.unwrap();
    assert!(matches!(target.receiver.act(&spec, at).await, Acted::Done(_)));
    assert_eq!(last("spare").await, 50_001);
    // At the very end there is nothing to give on either side: that keeps the application from neither.
    here.batch_execute("select setval('t_small_seq', 32767)").await.unwrap();
    let evidence = target.done(advance()).await.unwrap();
    assert_eq!(evidence["public.t_small_seq"], "32767 → 32767");
}

#[tokio::test]
async fn a_sequence_that_cannot_hold_what_was_drawn_is_named_before_a_switch_and_never_set_to_its_end() {
    let (source, target) = Fixture::both().await;
    for side in [&source, &target] {
        side.mover()
            .await
            .batch_execute(
                "drop table t; create sequence sm as smallint;
                 create table t (id int primary key, c bigint default nextval('sm'))",
            )
            .await
            .unwrap();
        side.prepare(GateMode::Closed).await;
    }
    let compare = |side| Effect::CompareColumns { side, tables: tables() };
    target.done(compare(target.side)).await.unwrap();
    source.done(compare(source.side)).await.unwrap();
    source
        .mover()
        .await
        .batch_execute("alter sequence sm as bigint maxvalue 999999999 cache 7; select setval('sm', 50000)")
        .await
        .unwrap();
    let finding = target.done(compare(target.side)).await.unwrap_err();
    assert_eq!(finding.code, "SW-0406");
    let statement = "alter sequence \"public\".\"sm\" as bigint increment by 1 minvalue 1 maxvalue 999999999 cache 7 no cycle";
    assert!(finding.what.contains(statement), "{}", finding.what);
    assert_eq!(source.done(compare(source.side)).await.unwrap_err().code, "SW-0406", "the way back, too");
    let advance = || Effect::AdvanceSequences { side: target.side, tables: tables(), alone: false };
    let refused = target.done(advance()).await.unwrap_err();
    assert!(refused.what.contains("cannot hold 50000"), "{}", refused.what);
    let here = target.mover().await;
    let last: i64 = here.query_one("select last_value from sm", &[]).await.unwrap().get(0);
    assert_eq!(last, 1, "nothing was moved");
    // The very statement of the finding mends it.
    here.batch_execute(statement).await.unwrap();
    target.done(compare(target.side)).await.unwrap();
    target.done(advance()).await.unwrap();
    let next: i64 = here.query_one("select nextval('sm')", &[]).await.unwrap().get(0);
    assert_eq!(next, 51_001);
}
