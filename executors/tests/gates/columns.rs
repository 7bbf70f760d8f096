//! The application must meet the same columns where it is to write.

use journal::{Effect, GateMode};

use crate::fixture::{Fixture, tables};

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

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
    holds(
        &finding.what,
        &[
            "a of public.t: `text default 'q'::text` at the target, `text default 'neu'::text` at the source",
            "c of public.t: `integer` at the target, `integer not null` at the source",
            "e of public.t: `is not there` at the target, `integer` at the source",
        ],
    );
}

#[tokio::test]
async fn a_constraint_that_one_side_lacks_is_named_before_a_switch_and_a_plain_index_is_told() {
    let (source, target) = Fixture::both().await;
    for side in [&source, &target] {
        side.mover()
            .await
            .batch_execute(
                "drop table t;
                 create table p (id int primary key);
                 create table t (id int primary key, a varchar(9), b int, c int,
                                 constraint known check (a in ('x', 'y')), constraint own unique (b),
                                 constraint of_p foreign key (c) references p);
                 create index plain on t (a); create unique index once on t (b, c)",
            )
            .await
            .unwrap();
        side.prepare(GateMode::Closed).await;
    }
    let compare = || Effect::CompareColumns { side: target.side, tables: tables() };
    let seen = target.done(compare()).await.unwrap();
    assert_eq!((seen["constraints_and_indexes"].as_str(), seen.get("warning")), ("6", None));

    let (at_source, at_target) = (source.mover().await, target.mover().await);
    // Said in other words by the catalog, not proven yet, or only slower: no reason to stop.
    at_source
        .batch_execute(
            "alter table t drop constraint known, add constraint known check (a = any (array['x'::text, 'y'])),
               drop constraint of_p, add constraint of_p foreign key (c) references p not valid;
             create index more on t (c)",
        )
        .await
        .unwrap();
    at_target.batch_execute("create unique index stricter on t (c)").await.unwrap();
    let seen = target.done(compare()).await.unwrap();
    let warning = &seen["warning"];
    holds(
        warning,
        &[
            "check constraint known of public.t",
            "index more of public.t is not at the target",
            "unique index stricter of public.t is at the target alone",
        ],
    );
    assert!(!warning.contains("of_p"), "{warning}");

    at_source.batch_execute("alter table t add constraint small check (b < 9)").await.unwrap();
    at_target
        .batch_execute("alter table t drop constraint own, drop constraint of_p; drop index once; create index once on t (b, c)")
        .await
        .unwrap();
    let finding = target.done(compare()).await.unwrap_err();
    assert_eq!(finding.code, "SW-0405");
    holds(
        &finding.what,
        &[
            "the target lacks what the source demands",
            "check constraint small of public.t",
            "unique constraint own of public.t",
            "foreign key of_p of public.t",
            "unique index once of public.t, which is `CREATE UNIQUE INDEX",
        ],
    );
}

#[tokio::test]
async fn triggers_and_row_security_that_one_side_lacks_are_named_before_a_switch_and_rights_are_told() {
    let (source, target) = Fixture::both().await;
    for side in [&source, &target] {
        let mover = side.mover().await;
        mover
            .batch_execute(
                "drop table t; create table t (id int primary key, a text);
                 create function f() returns trigger language plpgsql as 'begin return new; end';
                 create trigger kept before insert on t for each row execute function f()",
            )
            .await
            .unwrap();
        side.prepare(GateMode::Closed).await;
    }
    let compare = || Effect::CompareColumns { side: target.side, tables: tables() };
    let seen = target.done(compare()).await.unwrap();
    assert_eq!((seen["constraints_and_indexes"].as_str(), seen.get("warning")), ("1", None));

    source.mover().await.batch_execute("grant select on t to public").await.unwrap();
    let seen = target.done(compare()).await.unwrap();
    assert_eq!(seen["warning"], "rights of public of public.t is not at the target");

    source
        .mover()
        .await
        .batch_execute(
            "create trigger t_pkey before insert on t for each row execute function f();
             alter table t enable row level security, force row level security;
             create policy own on t using (a = current_user)",
        )
        .await
        .unwrap();
    let finding = target.done(compare()).await.unwrap_err();
    assert_eq!(finding.code, "SW-0405");
    holds(
        &finding.what,
        &[
            "trigger t_pkey of public.t",
            "policy own of public.t",
            "row security enabled of public.t",
            "row security forced of public.t",
        ],
    );
}

#[tokio::test]
async fn a_rule_or_a_trigger_that_acts_on_the_streams_rows_is_named_before_a_switch_on_either_side() {
    let (source, target) = Fixture::both().await;
    for side in [&source, &target] {
        let mover = side.mover().await;
        mover
            .batch_execute(
                "drop table t; create table t (id int primary key, a text);
                 create function f() returns trigger language plpgsql as 'begin return new; end';
                 create trigger kept before insert on t for each row execute function f();
                 create rule ni as on insert to t where new.a like 'x%' do instead nothing",
            )
            .await
            .unwrap();
        side.prepare(GateMode::Closed).await;
    }
    let compare = || Effect::CompareColumns { side: target.side, tables: tables() };
    target.done(compare()).await.unwrap();
    let (at_source, at_target) = (source.mover().await, target.mover().await);
    at_source
        .batch_execute(
            "alter table t enable always rule ni; create rule u as on update to t do also notify t",
        )
        .await
        .unwrap();
    at_target.batch_execute("alter table t enable replica trigger kept").await.unwrap();
    let finding = target.done(compare()).await.unwrap_err();
    assert_eq!(finding.code, "SW-0405");
    holds(
        &finding.what,
        &[
            "at the source the rule ni of public.t fires on replicated rows too",
            "alter table \"public\".\"t\" enable rule \"ni\"",
            "at the source the rule u of public.t is on update",
            "at the target the trigger kept of public.t fires on replicated rows too",
        ],
    );
    at_source.batch_execute("alter table t enable rule ni; drop rule u on t").await.unwrap();
    at_target.batch_execute("alter table t enable trigger kept").await.unwrap();
    target.done(compare()).await.unwrap();
}
