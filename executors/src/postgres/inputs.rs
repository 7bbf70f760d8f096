//! Texts that become rows of values by their types' own input functions, in no case by a cast from text.
//!
//! Most types' function is called by its name. Those that have one in common with others are read from an array's text, or
//! from JSON strings: the server gives each element to the type's input function.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use crate::native::{Input, InputWay};
use crate::postgres::quote::literal;

/// A column of values on its way, as a parameter.
#[derive(Debug)]
pub(crate) enum Sent<'t> {
    /// Texts to be read one by one.
    Texts(Vec<Option<&'t str>>),
    /// The text of a value of the parameter's own type, which holds them all.
    Whole(String),
}

impl ToSql for Sent<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Texts(texts) => texts.to_sql(kind, out),
            Self::Whole(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Texts(texts) => texts.to_sql_checked(kind, out),
            Self::Whole(_) => self.to_sql(kind, out),
        }
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self {
            Self::Texts(_) => Format::Binary,
            Self::Whole(_) => Format::Text,
        }
    }
}

impl<'t> Sent<'t> {
    /// A column of values, one after the other.
    pub(crate) fn of(input: &Input, texts: Vec<Option<&'t str>>) -> Self {
        match input.way {
            InputWay::Text | InputWay::Function(..) => Self::Texts(texts),
            InputWay::Array(delimiter) => Self::Whole(array(delimiter, &texts)),
            InputWay::Json => Self::Whole(json(&texts)),
        }
    }

    /// In SQL.
    pub(crate) fn quoted(&self) -> String {
        match self {
            Self::Texts(texts) => literal(&array(',', texts)),
            Self::Whole(text) => literal(text),
        }
    }
}

/// What a set's columns are called: `c0`, `c1`, and so on.
pub(crate) fn column(place: usize) -> String {
    format!("c{place}")
}

/// The value that a set's column comes to, by the column's name.
pub(crate) fn value(input: &Input, column: &str) -> String {
    match &input.way {
        InputWay::Function(name, rest) => format!("{name}(pg_catalog.textout({column}){rest})"),
        InputWay::Text | InputWay::Array(_) | InputWay::Json => column.to_owned(),
    }
}

/// `rows from (…) with ordinality as u(c0, …, place)`: a row a value of what was sent; `sent` gives each column's parameter
/// or literal.
pub(crate) fn from<'i>(
    inputs: impl IntoIterator<Item = &'i Input>,
    alias: &str,
    sent: impl Fn(usize) -> String,
) -> String {
    let calls: Vec<String> = inputs
        .into_iter()
        .enumerate()
        .map(|(at, Input { kind, way })| match way {
            InputWay::Text | InputWay::Function(..) => format!("unnest({}::text[])", sent(at)),
            InputWay::Array(_) => format!("unnest({}::{kind}[])", sent(at)),
            InputWay::Json => format!("json_to_recordset({}::json) as (v {kind})", sent(at)),
        })
        .collect();
    let names: Vec<String> = (0..calls.len()).map(column).collect();
    format!("rows from ({}) with ordinality as {alias}({}, place)", calls.join(", "), names.join(", "))
}

/// Every value in quotes, so that none is taken for NULL and none has its blanks trimmed.
fn array(delimiter: char, texts: &[Option<&str>]) -> String {
    let mut array = String::from("{");
    for text in texts {
        if array.len() > 1 {
            array.push(delimiter);
        }
        let Some(text) = *text else {
            array.push_str("NULL");
            continue;
        };
        array.push('"');
        let mut rest = text;
        while let Some(at) = rest.find(['"', '\\']) {
            let (plain, special) = rest.split_at(at);
            array.push_str(plain);
            array.push('\\');
            let (special, after) = special.split_at(1);
            array.push_str(special);
            rest = after;
        }
        array.push_str(rest);
        array.push('"');
    }
    array.push('}');
    array
}

fn json(texts: &[Option<&str>]) -> String {
    let rows = texts.iter().map(|text| serde_json::json!({ "v": text }));
    serde_json::Value::Array(rows.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_takes_every_text_for_what_it_is() {
        let texts =
            [Some("NULL"), None, Some(""), Some(r#"a\"b\\"#), Some(" {,;} "), Some(r"\x00"), Some("ü\n")];
        assert_eq!(
            array(';', &texts),
            "{\"NULL\";NULL;\"\";\"a\\\\\\\"b\\\\\\\\\";\" {,;} \";\"\\\\x00\";\"ü\n\"}"
        );
        assert_eq!(array(',', &[]), "{}");
    }

    #[test]
    fn a_type_without_an_array_of_its_own_travels_as_json() {
        assert_eq!(
            json(&[Some("{\"a\\\n\"}"), None, Some("")]),
            r#"[{"v":"{\"a\\\n\"}"},{"v":null},{"v":""}]"#
        );
        let call = InputWay::Function("pg_catalog.numeric_in".to_owned(), ", 0, -1".to_owned());
        let kinds = [("integer[]", InputWay::Json), ("s.mood", InputWay::Array(',')), ("numeric", call)];
        let inputs = kinds.map(|(kind, way)| Input { kind: kind.to_owned(), way });
        assert_eq!(
            from(&inputs, "u", |at| format!("${}", at + 1)),
            "rows from (json_to_recordset($1::json) as (v integer[]), unnest($2::s.mood[]), unnest($3::text[])) \
             with ordinality as u(c0, c1, c2, place)"
        );
        let values = inputs.map(|input| value(&input, "u.c0"));
        assert_eq!(values, ["u.c0", "u.c0", "pg_catalog.numeric_in(pg_catalog.textout(u.c0), 0, -1)"]);
    }
}
