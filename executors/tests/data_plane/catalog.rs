use std::time::{Duration, Instant};

use executors::native::mover::Mover;
use executors::postgres::catalog::{definitions, objects, shapes};
use executors::postgres::receipt::raise_epoch;
use executors::postgres::tables;
use executors::{Acted, Authority, Probe};
use journal::{Effect, EffectSpec, Epoch, Position, SchemaObject, Side, Step};
use runtime::SystemClock;
use tokio_postgres::Client;

use crate::fixture::{Fixture, phase, table, wait};

const NASTY: &str = r#"
create schema "Odd Schema";
create schema kinds;
create role clerk;
create type kinds.mood as enum ('fine', 'it''s', 'back\slash');
create domain kinds.percent as numeric(5,2) default 7 not null check (value between 0 and 100);
create type kinds.pair as (a int, "B b" text);
create collation kinds.numbers (provider = icu, locale = 'und-u-kn', deterministic = false);
create sequence kinds.shared increment by 5 start with 100 cycle maxvalue 100000;
create table "Odd Schema"."select ""me""" (
  "Key 1" int not null,
  key2 uuid not null,
  dropped text,
  mood kinds.mood not null default 'it''s',
  moods kinds.mood[] default '{fine}',
  share kinds.percent,
  pair kinds.pair,
  words text collate kinds.numbers,
  n bigint default nextval('kinds.shared'),
  serial serial,
  always bigint generated always as identity (increment by 3 start with 9),
  twice bigint generated always as (n * 2) stored,
  json jsonb not null default '{"a": [1, "x''y"]}',
  stamps timestamptz(3)[],
  bits bit(3),
  padded char(5) default 'ab',
  constraint "odd pk" primary key (key2, "Key 1") include (n)
) with (fillfactor = 70);
alter table "Odd Schema"."select ""me""" drop column dropped;
alter table "Odd Schema"."select ""me""" alter column words set storage external;
alter table "Odd Schema"."select ""me""" add constraint later unique (always) deferrable initially deferred;
alter table "Odd Schema"."select ""me""" add constraint "no overlap" exclude using btree (serial with =);
alter table "Odd Schema"."select ""me""" add check (n > -5) ;
create index on "Odd Schema"."select ""me""" (lower(words)) where n > 3;
create unique index "Partial One" on "Odd Schema"."select ""me""" (mood, share desc nulls last) where mood = 'it''s';
create statistics "Odd Schema".related on n, serial from "Odd Schema"."select ""me""";
comment on table "Odd Schema"."select ""me""" is 'what it''s for';
comment on column "Odd Schema"."select ""me""".n is 'a \ number';
grant select, insert on "Odd Schema"."select ""me""" to app with grant option;
grant update (n) on "Odd Schema"."select ""me""" to app;
grant select on "Odd Schema"."select ""me""" to clerk;
grant usage on schema "Odd Schema" to app;
grant usage on sequence kinds.shared to app;
create table "Odd Schema".a (id int primary key, b int, boss int references "Odd Schema".a on delete cascade);
create table "Odd Schema".b (id int primary key, a int references "Odd Schema".a deferrable);
alter table "Odd Schema".a add foreign key (b) references "Odd Schema".b not valid;
alter table "Odd Schema".b owner to app;
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_nasty_schema_is_made_again_just_as_it_is() {
    let fixture = Fixture::new().await;
    fixture.on(Side::Source).await.batch_execute(NASTY).await.unwrap();
    let names = [table("Odd Schema.select \"me\""), table("Odd Schema.b"), table("Odd Schema.a")].to_vec();
    let source = fixture.database(Side::Source).session().await.unwrap();
    let target = fixture.database(Side::Target).session().await.unwrap();
    let made = definitions(&*source, &names).await.unwrap();
    fixture.tables(Effect::CreateTables { tables: made.clone() }).await.unwrap();
    let later = objects(&*source, &names).await.unwrap();
    let kinds: Vec<&str> = later.iter().map(|object| object.kind.as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "foreign key").count(), 3);
    assert!(kinds.iter().rev().take(3).all(|kind| *kind == "foreign key"), "foreign keys come last");
    for object in later.clone() {
        fixture.tables(Effect::AddSchemaObject { object }).await.unwrap();
    }
    // The grants to a role that the target lacks are skipped there, so they are not compared.
    let known = |made: Vec<journal::TableDefinition>| -> Vec<_> {
        made.into_iter()
            .map(|mut one| {
                one.statements.retain(|statement| !statement.contains("clerk"));
                one
            })
            .collect()
    };
    assert_eq!(known(definitions(&*target, &names).await.unwrap()), known(made));
    assert_eq!(objects(&*target, &names).await.unwrap(), later);
    let shape = shapes(&*source, &names).await.unwrap();
    assert_eq!(shapes(&*target, &names).await.unwrap(), shape);
    let odd = &shape[0];
    assert!(odd.overrides_identity);
    assert!(!odd.columns.contains(&"twice".to_owned()), "generated columns do not travel");
    let key: Vec<&str> = odd.key.iter().map(|at| odd.columns[*at].as_str()).collect();
    assert_eq!(key, ["key2", "Key 1"], "in key order, without included columns");
    assert!(odd.types.contains(&"kinds.mood[]".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tables_of_this_phase_are_dropped_and_a_strange_one_is_in_the_way() {
    let fixture = Fixture::new().await;
    fixture
        .on(Side::Source)
        .await
        .batch_execute("create schema shop; create table shop.a (id int primary key)")
        .await
        .unwrap();
    let names = [table("shop.a")].to_vec();
    let source = fixture.database(Side::Source).session().await.unwrap();
    let made = definitions(&*source, &names).await.unwrap();
    let target = fixture.on(Side::Target).await;
    target.batch_execute("create schema shop; create table shop.a (id int)").await.unwrap();
    let refused = fixture.tables(Effect::CreateTables { tables: made.clone() }).await.unwrap_err();
    assert!(refused.contains("shop.a (owned by mover)") && refused.contains("SW-0231"), "{refused}");
    target.batch_execute("drop table shop.a").await.unwrap();
    fixture.tables(Effect::CreateTables { tables: made }).await.unwrap();
    target.batch_execute("drop table shop.a; create table shop.a (id int)").await.unwrap();
    let kept = fixture.tables(Effect::DropTables { tables: names }).await.unwrap();
    assert_eq!((kept["dropped"].as_str(), kept["not_ours_so_kept"].as_str()), ("0", "shop.a"));
    target.batch_execute("table shop.a").await.expect("what somebody made stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_cut_off_between_two_foreign_keys_is_ended_by_its_next_attempt() {
    let fixture = Fixture::new().await;
    let shop = "create schema shop; create table shop.a (id int primary key); create table shop.b (id int primary key)";
    fixture.on(Side::Source).await.batch_execute(shop).await.unwrap();
    let names = [table("shop.a"), table("shop.b")].to_vec();
    let source = fixture.database(Side::Source).session().await.unwrap();
    let made = definitions(&*source, &names).await.unwrap();
    fixture.tables(Effect::CreateTables { tables: made }).await.unwrap();
    let target = fixture.on(Side::Target).await;
    target
        .batch_execute(
            "create schema live; create table live.p (id int primary key); create table live.q (id int primary key);
             alter table shop.a add foreign key (id) references live.p, add foreign key (id) references shop.b;
             alter table shop.b add foreign key (id) references live.q, add foreign key (id) references shop.a",
        )
        .await
        .unwrap();
    let reader = fixture.on(Side::Target).await;
    reader.batch_execute("begin; select from live.q").await.unwrap();

    let (database, under) = (fixture.database(Side::Target), fixture.authority());
    let spec = fixture.spec(Step::Undo, Effect::DropTables { tables: names });
    let ties =
        "select count(*) from pg_constraint where contype = 'f' and confrelid::regclass::text like 'live.%'";
    let acting = tokio::spawn({
        let (database, spec) = (database.clone(), spec.clone());
        async move { tables::act(&database, &spec, under, &SystemClock).await }
    });
    let looks = &target;
    wait("the first tie to be cut", || async move {
        looks.query_one(ties, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    // Meanwhile both are written to, whatever it waits for.
    for name in ["live.p", "live.q"] {
        let began = Instant::now();
        target.batch_execute(&format!("insert into {name} values (1)")).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{name} stood still for {:?}", began.elapsed());
    }
    acting.abort();
    assert!(acting.await.is_err_and(|error| error.is_cancelled()), "it should have been under way");
    assert_eq!(tables::probe(&database, &spec, under).await, Probe::Absent);
    reader.batch_execute("commit").await.unwrap();

    let Acted::Done(done) = tables::act(&database, &spec, under, &SystemClock).await else {
        panic!("not done")
    };
    assert_eq!(done["dropped"], "2");
    assert!(matches!(tables::probe(&database, &spec, under).await, Probe::Ours(_)));
    let left = "select coalesce(string_agg(schemaname || '.' || tablename, ', ' order by 1), '') from pg_tables \
                where schemaname in ('shop', 'live')";
    assert_eq!(target.query_one(left, &[]).await.unwrap().get::<_, &str>(0), "live.p, live.q");
}

fn index(name: &str, of: &str) -> Effect {
    Effect::AddSchemaObject {
        object: SchemaObject {
            table: table("shop.things"),
            name: name.to_owned(),
            kind: "index".to_owned(),
            statement: format!("create index {name} on shop.things ({of})"),
        },
    }
}

async fn count(client: &Client, what: &str) -> i64 {
    client.query_one(&format!("select count(*) from {what}"), &[]).await.unwrap().get(0)
}

/// Two tables in a stream that runs, and an index of the first that takes until a lock is free.
struct Building {
    fixture: Fixture,
    /// What has the stream run.
    _mover: Mover,
    source: Client,
    target: Client,
    held: Client,
}

impl Building {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let source = fixture.on(Side::Source).await;
        source
            .batch_execute(
                "create schema shop; create table shop.things (id int primary key);
                 create table shop.seats (id int primary key); insert into shop.things values (1)",
            )
            .await
            .unwrap();
        let mover = fixture.mover();
        fixture.prepare(&mover, &[table("shop.things"), table("shop.seats")]).await;
        let (target, held) = (fixture.on(Side::Target).await, fixture.on(Side::Target).await);
        target
            .batch_execute(
                "set session_replication_role = replica; insert into shop.things values (1);
                 create function shop.slow(int) returns int immutable language plpgsql as
                   'begin perform pg_advisory_xact_lock_shared(42); return $1; end'",
            )
            .await
            .unwrap();
        held.batch_execute("select pg_advisory_lock(42)").await.unwrap();
        mover.plane().streams.set_desired(
            &phase(),
            Epoch::new(1),
            vec![fixture.stream()],
            Duration::from_secs(2),
        );
        Self { fixture, _mover: mover, source, target, held }
    }

    fn begin(&self, under: Authority) -> (EffectSpec, tokio::task::JoinHandle<Acted>) {
        let spec = self.fixture.spec(Step::FinalizeSchema, index("slow_one", "shop.slow(id)"));
        let (database, of) = (self.fixture.database(Side::Target), spec.clone());
        (spec, tokio::spawn(async move { tables::act(&database, &of, under, &SystemClock).await }))
    }

    async fn waiting(&self, builders: i64) {
        let target = &self.target;
        wait("the build waits", async || {
            count(target, "pg_locks where locktype = 'advisory' and not granted").await == builders
        })
        .await;
    }

    async fn indexes(&self) -> i64 {
        count(&self.target, "pg_indexes where indexname = 'slow_one'").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_goes_on_beside_a_long_build_and_nobody_passes_the_gate_before_its_end() {
    let at = Building::new().await;
    let target = &at.target;
    let (spec, build) = at.begin(at.fixture.authority());
    at.waiting(1).await;
    for n in 0..20 {
        at.source.batch_execute(&format!("insert into shop.seats values ({n})")).await.unwrap();
    }
    wait("the stream goes on", async || count(target, "shop.seats").await == 20).await;
    assert!(!build.is_finished());

    // The next holder waits for what is in flight, and finds it.
    let database = at.fixture.database(Side::Target);
    raise_epoch(&database, &phase(), Epoch::new(2)).await.unwrap_err();
    at.held.batch_execute("select pg_advisory_unlock(42)").await.unwrap();
    assert!(matches!(build.await.unwrap(), Acted::Done(_)));
    assert!(raise_epoch(&database, &phase(), Epoch::new(2)).await.unwrap());
    let under = Authority { epoch: Epoch::new(2), position: Position::new(1) };
    assert!(matches!(tables::probe(&database, &spec, under).await, Probe::Ours(_)));
    assert_eq!(at.indexes().await, 1);
    at.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_is_gone_or_late_leaves_nothing_and_the_next_one_builds() {
    let at = Building::new().await;
    let (first, target) = (at.fixture.authority(), &at.target);
    let (spec, build) = at.begin(first);
    at.waiting(1).await;
    build.abort();
    wait("the server ends a build without a client", async || {
        count(target, "pg_locks where locktype = 'advisory' and not granted").await == 0
    })
    .await;
    at.held.batch_execute("select pg_advisory_unlock(42)").await.unwrap();
    let database = at.fixture.database(Side::Target);
    assert!(raise_epoch(&database, &phase(), Epoch::new(2)).await.unwrap());
    assert!(matches!(tables::probe(&database, &spec, first).await, Probe::Absent));
    assert_eq!(at.indexes().await, 0);

    // The zombie comes back: it is refused. The new holder goes on from the same intent.
    let Acted::Definite(refused) = tables::act(&database, &spec, first, &SystemClock).await else {
        panic!("built by a zombie")
    };
    assert!(refused.0.contains("refused at the gate"), "{refused}");
    assert_eq!(at.indexes().await, 0);
    let second = Authority { epoch: Epoch::new(2), position: first.position };
    assert!(matches!(tables::act(&database, &spec, second, &SystemClock).await, Acted::Done(_)));
    assert!(
        matches!(tables::act(&database, &spec, first, &SystemClock).await, Acted::Done(_)),
        "it is there and ours"
    );
    assert_eq!(at.indexes().await, 1);
    at.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_their_parent_are_named_and_the_key_is_proven_once_they_have_one() {
    let fixture = Fixture::new().await;
    let target = fixture.on(Side::Target).await;
    target
        .batch_execute(
            "create schema shop; create table shop.b (id int primary key);
             create table shop.a (\"K 1\" int, k2 text, b int, primary key (\"K 1\", k2));
             insert into shop.b values (1); insert into shop.a values (1, 'x', 1), (2, 'y', null), (3, 'z', 7), (4, 'z', 8)",
        )
        .await
        .unwrap();
    let key = Effect::AddSchemaObject {
        object: SchemaObject {
            table: table("shop.a"),
            name: "a_b".to_owned(),
            kind: "foreign key".to_owned(),
            statement: "alter table shop.a add constraint a_b FOREIGN KEY (b) REFERENCES shop.b(id)"
                .to_owned(),
        },
    };
    let refused = fixture.tables(key.clone()).await.unwrap_err();
    for part in ["SW-0404", "2 row(s) of shop.a", "shop.b", "a_b", "K 1, k2 = ", "b = "] {
        assert!(refused.contains(part), "no {part} in {refused}");
    }
    assert!(refused.contains("3, z") || refused.contains("4, z"), "{refused}");
    target.batch_execute("insert into shop.b values (7), (8)").await.unwrap();
    fixture.tables(key).await.unwrap();
    let proven = "pg_constraint where conname = 'a_b' and convalidated";
    assert_eq!(count(&target, proven).await, 1);
}
