//! The filter's language means what PostgreSQL means by it: for random filters over random rows of every type that it
//! compares, the rows' own evaluation agrees with the server's, NULL for NULL, and no row belongs to two filters that
//! were proven disjoint.

#![expect(clippy::indexing_slicing, reason = "every index is drawn from the length of what it indexes")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use journal::Predicate;
use journal::predicate::{CatalogType, Collation, ColumnType, Typed, Value};
use product::cluster::{Cluster, Role};
use tokio_postgres::{Client, SimpleQueryMessage};

const ROWS: usize = 300;
const FILTERS: usize = 500;

/// A column to be tried: its type for PostgreSQL, values in SQL, and literals of the language.
struct Column {
    name: &'static str,
    sql: &'static str,
    is: (&'static str, char),
    collation: Collation,
    values: &'static [&'static str],
    literals: &'static [&'static str],
}

const TEXTS: &[&str] =
    &["eu", "EU", "eu ", " eu", "", "e", "eu\u{e9}", "eue\u{301}", "z", "Z", "\u{10ffff}", "it's", "a\\b"];
const TEXT_LITERALS: &[&str] = &[
    "'eu'",
    "'EU'",
    "'eu '",
    "''",
    "'e'",
    "'eu\u{e9}'",
    "'z'",
    "'Z'",
    "'\u{ffff}'",
    "'it''s'",
    "'a\\b'",
    "'a\\\\b'",
];
const INTEGERS: &[&str] = &["0", "1", "-1", "2", "7", "32767", "-32768"];
const NUMBERS: &[&str] =
    &["0", "-0.0", "1", "1.0", "1.10", "-1.5", "0.001", "999999.999", "-999999.999", "7", "1.100"];

const fn plain(
    name: &'static str,
    sql: &'static str,
    catalog: &'static str,
    values: &'static [&'static str],
    literals: &'static [&'static str],
) -> Column {
    Column { name, sql, is: (catalog, 'b'), collation: Collation::Bytes, values, literals }
}

const COLUMNS: &[Column] = &[
    plain("by_bytes", "text collate \"C\"", "text", TEXTS, TEXT_LITERALS),
    Column {
        collation: Collation::Deterministic,
        ..plain("by_language", "text collate \"und-x-icu\"", "text", TEXTS, TEXT_LITERALS)
    },
    plain("Short One", "varchar(5) collate \"C\"", "varchar", &["eu", "eu ", "z", "", "it's"], TEXT_LITERALS),
    plain(
        "padded",
        "char(4) collate \"C\"",
        "bpchar",
        &["eu", "eu ", "EU", "", "e", " eu", "z"],
        TEXT_LITERALS,
    ),
    plain("small", "smallint", "int2", INTEGERS, &["0", "-0", "1", "007", "-1", "32767", "-32768"]),
    plain(
        "whole",
        "integer",
        "int4",
        &["0", "1", "-1", "2147483647", "-2147483648"],
        &["0", "1", "2147483647", "-2147483648", "2.0"],
    ),
    plain(
        "big",
        "bigint",
        "int8",
        &["0", "1", "9223372036854775807", "-9223372036854775808", "9007199254740993"],
        &["0", "1", "9007199254740992", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    ),
    plain(
        "free",
        "numeric",
        "numeric",
        &[
            "0",
            "-0.0",
            "1.10",
            "1.1",
            "1e40",
            "-1e-40",
            "NaN",
            "Infinity",
            "-Infinity",
            "123456789012345678901234567890.5",
        ],
        &[
            "0",
            "1.1",
            "1.100",
            "-1",
            "10000000000000000000000000000000000000000",
            "123456789012345678901234567890.5",
            ".5",
        ],
    ),
    plain(
        "scaled",
        "numeric(12,3)",
        "numeric",
        NUMBERS,
        &["0", "1", "1.1", "1.1004", "-1.5", "0.001", "999999.999"],
    ),
    plain("open", "boolean", "bool", &["true", "false"], &["TRUE", "FALSE"]),
    plain(
        "id",
        "uuid",
        "uuid",
        &[
            "0e37df36-f698-11e6-8dd4-cb9ced3df976",
            "FFFFFFFF-ffff-ffff-ffff-ffffffffffff",
            "00000000-0000-0000-0000-000000000000",
            "{0e37df36f69811e68dd4cb9ced3df977}",
        ],
        &[
            "'0E37DF36-F698-11E6-8DD4-CB9CED3DF976'",
            "'0e37df36-f698-11e6-8dd4-cb9ced3df976'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    plain(
        "day",
        "date",
        "date",
        &[
            "2024-02-29",
            "2024-03-01",
            "1970-01-01",
            "0001-01-01",
            "0001-12-31 BC",
            "0044-03-15 BC",
            "4713-01-01 BC",
            "infinity",
            "-infinity",
            "5874897-12-31",
            "1900-02-28",
            "1900-03-01",
            "10000-01-01",
        ],
        &[
            "'2024-02-29'",
            "'2024-03-01'",
            "'1970-01-01'",
            "'0001-01-01'",
            "'infinity'",
            "'-infinity'",
            "'5874897-12-31'",
            "'10000-01-01'",
            "'1900-02-28'",
        ],
    ),
    plain(
        "at",
        "timestamp",
        "timestamp",
        &[
            "2024-02-29 12:00:00",
            "2024-02-29 12:00:00.000001",
            "2024-02-29",
            "1969-12-31 23:59:59.999999",
            "0001-12-31 23:59:59 BC",
            "4713-01-01 00:00:00 BC",
            "infinity",
            "-infinity",
            "294276-12-31 23:59:59.999999",
            "2024-02-29 12:00:00.5",
        ],
        &[
            "'2024-02-29 12:00:00'",
            "'2024-02-29T12:00:00.500'",
            "'2024-02-29'",
            "'2024-02-29 12:00'",
            "'1970-01-01'",
            "'0001-01-01'",
            "'infinity'",
            "'-infinity'",
            "'294275-12-31 23:59:59.999999'",
        ],
    ),
    plain(
        "moment",
        "timestamptz",
        "timestamptz",
        &[
            "2024-02-29 12:00:00+00",
            "2024-02-29 12:00:00.000001Z",
            "2024-02-29 14:00:00+02",
            "2024-03-31 03:30:00 Europe/Berlin",
            "1883-11-18 12:00:00+00",
            "0044-03-15 12:00:00+00 BC",
            "infinity",
            "-infinity",
            "294276-12-31 23:59:59.999999+00",
        ],
        &[
            "'2024-02-29 12:00:00Z'",
            "'2024-02-29 14:00:00+02'",
            "'2024-02-29T06:30-05:30'",
            "'2024-03-31 01:30:00+00:00'",
            "'infinity'",
            "'-infinity'",
            "'1883-11-18 12:00:00+00'",
            "'0001-01-01 00:00:00+15'",
        ],
    ),
    plain(
        "raw",
        "bytea",
        "bytea",
        &["\\x", "\\x00", "\\x00ff", "\\xFF", "\\x7f"],
        &["'\\x'", "'\\x00'", "'\\x00FF'", "'\\xff'", "'\\x7F'"],
    ),
    Column {
        is: ("mood", 'e'),
        ..plain("feeling", "mood", "", &["zeal", "calm", "it's"], &["'zeal'", "'calm'", "'it''s'"])
    },
    plain("worth", "positive", "numeric", &["1", "1.0", "2.50"], &["1", "2.5", "-1"]),
    plain("doc", "jsonb", "jsonb", &["{}", "null"], &[]),
];

/// A generator of one seed's numbers (splitmix64), so that a failure can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    fn one<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn filter(&mut self, depth: usize) -> String {
        match if depth == 0 { 0 } else { self.below(6) } {
            0..=2 => self.test(),
            3 => format!("({} and {})", self.filter(depth - 1), self.filter(depth - 1)),
            4 => format!("({} OR {})", self.filter(depth - 1), self.filter(depth - 1)),
            _ => format!("not ({})", self.filter(depth - 1)),
        }
    }

    fn test(&mut self) -> String {
        let column = self.one(COLUMNS);
        self.test_of(column)
    }

    fn test_of(&mut self, column: &Column) -> String {
        let name = format!("\"{}\"", column.name);
        let not = *self.one(&["", "not "]);
        if column.literals.is_empty() || self.below(8) == 0 {
            return format!("{name} is {not}null");
        }
        let ordered = column.collation == Collation::Bytes && column.is.1 != 'e';
        let literal = *self.one(column.literals);
        match self.below(if ordered { 4 } else { 2 }) {
            0 => {
                let items: Vec<&str> = (0..=self.below(3)).map(|_| *self.one(column.literals)).collect();
                format!("{name} {not}in ({})", items.join(", "))
            }
            1 => format!("{name} {} {literal}", self.one(&["=", "<>", "="])),
            2 => format!("{name} {} {literal}", self.one(&["<", "<=", ">", ">="])),
            _ => format!("{name} {not}between {literal} and {}", self.one(column.literals)),
        }
    }
}

fn types() -> BTreeMap<String, ColumnType> {
    COLUMNS
        .iter()
        .map(|column| {
            let (name, kind) = column.is;
            let catalog = CatalogType {
                schema: if kind == 'e' { "public" } else { "pg_catalog" },
                name,
                kind,
                labels: if kind == 'e' {
                    column.values.iter().map(|v| (*v).to_owned()).collect()
                } else {
                    vec![]
                },
                collation: column.collation,
            };
            (column.name.to_owned(), ColumnType::from(catalog))
        })
        .collect()
}

async fn furnish(client: &Client, random: &mut Random) -> Result<()> {
    let columns: Vec<String> = COLUMNS.iter().map(|c| format!("\"{}\" {}", c.name, c.sql)).collect();
    client
        .batch_execute(&format!(
            "create type mood as enum ('zeal', 'calm', 'it''s');
             create domain positive as numeric check (value > 0);
             create table probe (row_id bigint primary key, {});
             alter table probe replica identity full",
            columns.join(", ")
        ))
        .await?;
    let mut insert = "insert into probe values ".to_owned();
    for row in 0..ROWS {
        write!(insert, "{}({row}", if row == 0 { "" } else { ", " })?;
        for column in COLUMNS {
            match random.below(column.values.len() + 1) {
                0 => insert.push_str(", null"),
                n => write!(insert, ", '{}'", column.values[n - 1].replace('\'', "''"))?,
            }
        }
        insert.push(')');
    }
    client.batch_execute(&insert).await.context("the rows")?;
    Ok(())
}

async fn rows(client: &Client, query: &str) -> Result<Vec<Vec<Option<String>>>> {
    let messages = client.simple_query(query).await.with_context(|| query.to_owned())?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect())
}

fn typed(text: &str) -> Result<Typed> {
    let read = Predicate::parse(text).map_err(|problem| anyhow!("{text}: {problem:?}"))?;
    let again = Predicate::parse(&read.to_string()).map_err(|problem| anyhow!("{read}: {problem:?}"))?;
    ensure!(again == read, "{read} became {again}");
    read.typed(&types()).map_err(|problems| anyhow!("{text}: {problems:?}"))
}

fn holds(filter: &Typed, row: &[Option<String>]) -> Result<Option<bool>> {
    let told = filter.holds(|name| {
        let at = COLUMNS.iter().position(|column| column.name == name)?;
        Some(row[at + 1].as_deref().map_or(Value::Null, Value::Text))
    });
    told.with_context(|| format!("{} of {row:?}", filter.predicate()))
}

fn seed() -> u64 {
    std::env::var("PREDICATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |since| u64::from(since.subsec_nanos()) ^ since.as_secs())
    })
}

#[tokio::test]
async fn filters_mean_what_postgresql_means() -> Result<()> {
    let seed = seed();
    let mut random = Random(seed);
    let cluster = Cluster::start("probe").await?;
    let client = cluster.connect(Role::Mover).await?;
    client
        .batch_execute("set timezone = 'UTC'; set datestyle = 'ISO, DMY'; set bytea_output = 'hex'")
        .await?;
    furnish(&client, &mut random).await?;
    let probe = rows(&client, "select * from probe order by row_id").await?;
    // Whatever a session is set to, the SQL means the same.
    client
        .batch_execute(
            "set timezone = 'Asia/Kolkata'; set datestyle = 'German, DMY'; set bytea_output = 'escape';
             set standard_conforming_strings = off; set backslash_quote = off; set escape_string_warning = off",
        )
        .await?;
    let (mut compared, mut trues, mut unknowns) = (0, 0, 0);
    for _ in 0..FILTERS {
        let text = random.filter(3);
        let filter = typed(&text).with_context(|| format!("seed {seed}"))?;
        let query = format!("select ({})::text from probe as p order by row_id", filter.sql(Some("p")));
        let answers = rows(&client, &query).await.with_context(|| format!("seed {seed}"))?;
        for (row, answer) in probe.iter().zip(&answers) {
            let server = match answer[0].as_deref() {
                None => None,
                Some("true") => Some(true),
                Some("false") => Some(false),
                Some(other) => bail!("the server says {other}"),
            };
            let ours = holds(&filter, row)?;
            ensure!(
                server == ours,
                "seed {seed}: {}\nas {query}\nthe server says {server:?}, we say {ours:?} of {row:?}",
                filter.predicate()
            );
            compared += 1;
            trues += usize::from(ours == Some(true));
            unknowns += usize::from(ours.is_none());
        }
    }
    ensure!(compared == ROWS * FILTERS, "{compared} comparisons only");
    ensure!(
        trues > compared / 20 && unknowns > compared / 50,
        "seed {seed}: {trues} true, {unknowns} unknown"
    );
    Ok(())
}

#[tokio::test]
async fn no_row_belongs_to_two_disjoint_filters() -> Result<()> {
    let seed = seed();
    let mut random = Random(seed);
    let cluster = Cluster::start("probe").await?;
    let client = cluster.connect(Role::Mover).await?;
    furnish(&client, &mut random).await?;
    client.batch_execute("set timezone = 'UTC'").await?;
    let probe = rows(&client, "select * from probe order by row_id").await?;
    let (mut without_types, mut with_types) = (0, 0);
    for _ in 0..4000 {
        // Two tests of one column contradict each other often; of two columns, never.
        let column = random.one(COLUMNS);
        let mut side = || match random.below(3) {
            0 => random.test_of(column),
            1 => format!("{} and {}", random.test_of(column), random.filter(1)),
            _ => format!("not ({} or {})", random.test_of(column), random.test_of(column)),
        };
        let (one, other) = (typed(&side())?, typed(&side())?);
        let untyped = one.predicate().disjoint(other.predicate());
        let proven = one.disjoint(&other);
        ensure!(
            proven || !untyped,
            "seed {seed}: types unproved {} | {}",
            one.predicate(),
            other.predicate()
        );
        without_types += usize::from(untyped);
        with_types += usize::from(proven);
        if proven {
            for row in &probe {
                let both = holds(&one, row)? == Some(true) && holds(&other, row)? == Some(true);
                ensure!(!both, "seed {seed}: {} and {} share {row:?}", one.predicate(), other.predicate());
            }
        }
    }
    ensure!(
        without_types > 200 && with_types > without_types,
        "{without_types} and {with_types} proofs only"
    );
    Ok(())
}

#[tokio::test]
async fn a_publication_takes_a_filter_over_built_in_types() -> Result<()> {
    let seed = seed();
    let mut random = Random(seed);
    let cluster = Cluster::start("probe").await?;
    let client = cluster.connect(Role::Mover).await?;
    furnish(&client, &mut random).await?;
    for _ in 0..100 {
        let filter = typed(&random.filter(2))?;
        let (sql, own) = (filter.sql(None), filter.columns().keys().any(|c| c == "feeling" || c == "worth"));
        let made = client
            .batch_execute(&format!(
                "create publication slice for table probe where ({sql}); drop publication slice"
            ))
            .await;
        match made {
            Ok(()) => ensure!(!own, "seed {seed}: an enum or a domain was taken: {sql}"),
            Err(error) => ensure!(own, "seed {seed}: {sql}: {error:#?}"),
        }
    }
    Ok(())
}
