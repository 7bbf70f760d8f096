//! What a table is, beneath its name: a comparison is of it, and of no other that takes its name later.
//!
//! # The race
//!
//! A whole table is compared hours before a switch; after that only the keys are looked at that the streams have named. So
//! what changes rows without a row's change in the log is seen by nobody: another table under the name, which is in no
//! publication and has no fence, or a definition that rewrites every row. What the table was is therefore read in the
//! comparison's own snapshot, kept with its verdict, and looked at again when the gate is closed.
//!
//! Everything here is read with the transaction's snapshot, so nothing goes through a cast to `regclass` or a function that
//! looks a name up: those see what was committed since.
//!
//! A new file alone is no change: `VACUUM FULL`, `CLUSTER` and a move to another tablespace write the same rows again. An
//! `ALTER TABLE` that gives rows other values makes a new file and touches a column's row in the catalog.

use std::collections::BTreeMap;

use journal::{PlanHash, TableName};
use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;

use crate::postgres::writers;

/// A table as one snapshot shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its oid.
    pub oid: String,
    /// The file of its heap.
    pub file: String,
    /// A hash over its columns and over what it inherits from or is a part of.
    pub columns: String,
    /// A hash over the transactions that wrote its columns' rows in the catalog last.
    pub written: String,
    /// Its place in the publication of the stream that reads it here: empty if it is not published, or not each change of
    /// each row. None where no such stream was known.
    pub published: Option<String>,
}

impl Identity {
    /// Whether it is known not to be published whole.
    #[must_use]
    pub fn is_unpublished(&self) -> bool {
        self.published.as_deref() == Some("")
    }

    /// How a table differs from this one in a way that its rows may have changed by without a word of the streams, in words.
    /// `reads` says whether a stream must have carried what was written to it.
    #[must_use]
    pub fn change(&self, now: &Self, reads: bool) -> Option<String> {
        if self.oid != now.oid {
            return Some(format!(
                "is another table of that name (oid {}; {} was compared)",
                now.oid, self.oid
            ));
        }
        if self.columns != now.columns {
            return Some("has other columns".to_owned());
        }
        if self.file != now.file && self.written != now.written {
            return Some("was rewritten by an `alter table`".to_owned());
        }
        let known = self.published.as_ref().zip(now.published.as_ref());
        if reads && known.is_some_and(|(then, now)| then != now) {
            return Some("was out of its publication for a while, or the publication was changed".to_owned());
        }
        None
    }
}

/// The tables of these names as the session's transaction sees them; those that are not there are left out.
///
/// # Errors
/// The database's own.
pub async fn identities(
    client: &impl GenericClient,
    tables: &[TableName],
    publication: Option<&str>,
) -> Result<BTreeMap<TableName, Identity>, tokio_postgres::Error> {
    let sql = "select n.nspname::text, c.relname::text, c.oid::text, c.relfilenode::text, \
                 concat_ws(' ', c.relkind, c.relpersistence, c.relispartition, \
                   (select string_agg(i.inhrelid || '<' || i.inhparent, ',' order by i.inhrelid, i.inhparent) \
                    from pg_inherits i where c.oid in (i.inhrelid, i.inhparent)), \
                   (select string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, \
                                                a.attgenerated, case when a.attgenerated <> '' then d.oid end), \
                                      ',' order by a.attnum) \
                    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
                    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)), \
                 (select string_agg(a.xmin::text, ',' order by a.attnum) from pg_attribute a \
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), \
                 (select concat_ws(' ', p.oid, p.xmin, r.oid, r.xmin) \
                  from pg_publication p join pg_publication_rel r on r.prpubid = p.oid \
                  where p.pubname = $3 and r.prrelid = c.oid and r.prqual is null and r.prattrs is null \
                    and p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate) \
               from unnest($1::text[], $2::text[]) as w (schema, name) \
               join pg_namespace n on n.nspname = w.schema \
               join pg_class c on c.relnamespace = n.oid and c.relname = w.name and c.relkind in ('r', 'p')";
    let (schemas, names) = writers::columns(tables);
    let rows = client.query(sql, &[&schemas, &names, &publication]).await?;
    let hash = |text: Option<&str>| PlanHash::of(text.unwrap_or_default().as_bytes()).short();
    Ok(rows
        .iter()
        .map(|row| {
            let identity = Identity {
                oid: row.get(2),
                file: row.get(3),
                columns: hash(row.get(4)),
                written: hash(row.get(5)),
                published: publication.map(|_| row.get::<_, Option<String>>(6).unwrap_or_default()),
            };
            (TableName { schema: row.get(0), table: row.get(1) }, identity)
        })
        .collect())
}

/// Whether tables are in a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Whether the publication is there.
    pub is_published: bool,
    /// Of each of the tables, in their order: none if it is not there, else whether the publication has each change of each of
    /// its rows.
    pub tables: Vec<Option<bool>>,
}

/// Whether these tables are in that publication; in none where no publication is named.
///
/// # Errors
/// The database's own.
pub async fn carried(
    client: &impl GenericClient,
    tables: &[TableName],
    publication: Option<&str>,
) -> Result<Carried, tokio_postgres::Error> {
    let sql = "select p.oid is not null, \
                 case when w.oid is not null then p.oid is not null and exists ( \
                   select from pg_publication_rel r where r.prrelid = w.oid and r.prpubid = p.oid \
                     and r.prqual is null and r.prattrs is null) \
                   and p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate end \
               from ( \
                 select u.place, (select c.oid from pg_namespace n join pg_class c on c.relnamespace = n.oid \
                                  where n.nspname = u.schema and c.relname = u.name and c.relkind in ('r', 'p')) as oid \
                 from unnest($1::text[], $2::text[]) with ordinality as u (schema, name, place)) w \
               left join pg_publication p on p.pubname = $3 order by w.place";
    let (schemas, names) = writers::columns(tables);
    let rows = client.query(sql, &[&schemas, &names, &publication]).await?;
    Ok(Carried {
        is_published: rows.first().is_some_and(|row| row.get(0)),
        tables: rows.iter().map(|row| row.get(1)).collect(),
    })
}
