use executors::{Probe, Receiver};
use journal::{Effect, Side, Step};

use crate::fixture::{Fixture, table};

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_blocks_is_told_at_once_with_its_code_and_remedy() {
    let fixture = Fixture::new().await;
    fixture
        .on(Side::Source)
        .await
        .batch_execute(
            "create schema shop;
             create table shop.parent (id smallint generated always as identity primary key);
             create table shop.good (id int, parent smallint references shop.parent, twice int generated always as (id * 2) stored,
                                     primary key (id) include (twice));
             create table shop.keyless (id int);
             create unlogged table shop.fleeting (id int primary key);
             create table shop.parts (id int primary key) partition by range (id);
             create table shop.nothing (id int primary key, few smallserial);
             alter table shop.nothing replica identity nothing;
             create table shop.late (id int primary key deferrable);
             create table shop.derived (id int, twice int generated always as (id * 2) stored, primary key (id, twice));
             create table shop.there (id int primary key);
             create type shop.span as range (subtype = int4);
             create function shop.f() returns int language sql as 'select 1';
             create extension pg_trgm schema shop;
             create collation shop.german (provider = icu, locale = 'de');
             create function shop.audit() returns trigger language plpgsql as 'begin return new; end';
             create table shop.needy (id int primary key, s shop.span, n int default shop.f(), g text collate shop.german,
                                      small smallserial);
             create trigger audited after update on shop.needy for each row execute function shop.audit();
             create function shop.mine(text) returns boolean language sql as 'select true';
             create policy own on shop.needy using (shop.mine(g));
             create index on shop.needy using gin (g shop.gin_trgm_ops);
             create function shop.t() returns trigger language plpgsql as 'begin return new; end';
             create trigger loud before insert on shop.good for each row execute function shop.t();
             create rule mute as on insert to shop.good where new.id > 9 do instead nothing;
             alter table shop.good enable always trigger loud, enable always rule mute;
             create rule anew as on update to shop.good do also notify good;
             create table shop.outside (id int references shop.good)",
        )
        .await
        .unwrap();
    fixture
        .on(Side::Target)
        .await
        .batch_execute("create schema shop; create table shop.there (id int)")
        .await
        .unwrap();
    let names =
        ["good", "keyless", "fleeting", "parts", "nothing", "late", "derived", "there", "needy", "absent"];
    let tables = names.iter().map(|name| table(&format!("shop.{name}"))).collect();
    let spec = fixture.spec(Step::Preflight, Effect::Preflight { tables });
    let Probe::Differs(finding) = fixture.mover().probe(&spec, fixture.authority()).await else {
        panic!("preflight passes");
    };
    for expected in [
        "[SW-0215] the foreign key good_parent_fkey of shop.good leads to shop.parent",
        "[SW-0216] the trigger loud",
        "[SW-0216] the rule mute of shop.good fires on replicated rows too",
        "[SW-0216] the rule anew of shop.good is on update",
        "[SW-0213] shop.keyless has no primary key",
        "[SW-0212] shop.fleeting is unlogged",
        "[SW-0211] shop.parts is a partitioned table",
        "[SW-0214] the replica identity of shop.nothing",
        "[SW-0213] the primary key of shop.late is deferrable",
        "[SW-0213] the primary key of shop.derived holds the generated column twice",
        "[SW-0231] the target has shop.there",
        "[SW-0217] the type \"shop\".\"span\" is missing",
        "[SW-0218] the function shop.f()",
        "[SW-0218] the operator class shop.gin_trgm_ops for access method gin",
        "[SW-0218] the collation shop.german",
        "[SW-0218] the function shop.audit()",
        "[SW-0218] the function shop.mine(text)",
        "[SW-0210] the source has no table shop.absent",
    ] {
        assert!(finding.what.contains(expected), "{expected} is not in:\n{}", finding.what);
    }
    assert!(!finding.what.contains("primary key of shop.good"), "it only includes one:\n{}", finding.what);
    fixture
        .on(Side::Target)
        .await
        .batch_execute("create function shop.t() returns trigger language plpgsql as 'begin return new; end'")
        .await
        .unwrap();
    let good = vec![table("shop.good"), table("shop.parent"), table("shop.nothing")];
    fixture
        .on(Side::Source)
        .await
        .batch_execute(
            "select setval('shop.nothing_few_seq', 32000); alter table shop.good enable trigger loud, enable rule mute; drop rule anew on shop.good; alter table shop.nothing replica identity default",
        )
        .await
        .unwrap();
    let spec = fixture.spec(Step::Preflight, Effect::Preflight { tables: good });
    match fixture.mover().probe(&spec, fixture.authority()).await {
        Probe::Ours(evidence) => {
            assert_eq!(evidence["tables"], "3");
            assert!(evidence["warnings"].contains("the sequence shop.nothing_few_seq has 767 values left"));
            assert!(!evidence["warnings"].contains("parent_id_seq"), "it has plenty");
            assert!(evidence["warnings"].contains("shop.outside outside the phase references shop.good"));
            assert!(evidence["warnings"].contains("nobody enforces the reference between the sides"));
        }
        other => panic!("{other:?}"),
    }
}
