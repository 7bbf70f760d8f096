use executors::postgres::catalog::{definitions, objects, shapes};
use journal::{Effect, Side};

use crate::fixture::{Fixture, table};

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
