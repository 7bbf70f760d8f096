//! From text to an expression. The SQL parser accepts far more than the language has; what it has not is refused by
//! name, with the place.

use sqlparser::ast::BinaryOperator;
use sqlparser::ast::{Expr, Ident, InTarget, Spanned as _, UnaryOperator, Value};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, Tokenizer, Whitespace};

use super::PredicateProblem;
use super::decimal::Finite;
use super::expression::{Comparison, Condition, Expression, LONGEST_NAME, Literal, LiteralValue, Test};
use super::words;

/// The longest text that is read, in bytes. A filter is a sentence, not a table of data.
const LONGEST: usize = 16 * 1024;

/// The most words and signs beside literals, commas and parentheses. A chain of operators is a tree as deep as it is
/// long, and what walks it needs the stack of a server's thread for it.
const MOST_SIGNS: usize = 1024;

type Read<T> = Result<T, PredicateProblem>;

/// Reads a predicate.
pub(super) fn read(text: &str) -> Read<Expression<Literal>> {
    if text.len() > LONGEST {
        return Err(problem(LONGEST, format!("the filter is longer than {LONGEST} bytes")));
    }
    if let Some(at) = text.find('\0') {
        return Err(problem(at, "PostgreSQL keeps no zero byte"));
    }
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|error| problem(offset(text, error.location), spoken(&error.message)))?;
    for token in &tokens {
        if let Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) =
            &token.token
        {
            let at = offset(text, token.span.start);
            return Err(problem(at, "a filter has no comments: put them beside it in the plan"));
        }
    }
    if let Some(token) = tokens.iter().filter(|token| is_sign(&token.token)).nth(MOST_SIGNS) {
        let at = offset(text, token.span.start);
        let what = format!(
            "the filter has more than {MOST_SIGNS} words and signs: a list after IN holds many values"
        );
        return Err(problem(at, what));
    }
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().map_err(|error| unparsed(text, error))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let at = offset(text, next.span.start);
        return Err(problem(at, format!("the filter ends before `{}`", next.token)));
    }
    Reader { text }.expression(&parsed, 0)
}

/// Refuses, in a text that can be read, what the SQL parser takes for a word of the language and PostgreSQL or
/// `docs/predicates.md` does not.
pub(super) fn spelt(text: &str) -> Read<()> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|error| problem(offset(text, error.location), spoken(&error.message)))?;
    let (mut before, mut last) = (String::new(), String::new());
    for token in tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))) {
        let word = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        };
        let meant = match word.as_str() {
            "NOTNULL" => Some("IS NOT NULL"),
            "ISNULL" => Some("IS NULL"),
            "NULL" if last == "NOT" && before != "IS" => Some("IS NOT NULL"),
            _ if token.token == Token::DoubleEq => Some("="),
            _ => None,
        };
        if let Some(meant) = meant {
            let given = if word == "NULL" { "NOT NULL".to_owned() } else { token.token.to_string() };
            return Err(PredicateProblem {
                at: offset(text, token.span.start),
                what: format!("`{given}` is not part of the filter language: expected `{meant}`"),
                suggestion: Some(meant.to_owned()),
            });
        }
        before = std::mem::replace(&mut last, word);
    }
    Ok(())
}

/// Whether a token can make the expression deeper; parentheses are counted by the parser.
fn is_sign(token: &Token) -> bool {
    !matches!(
        token,
        Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Comma
            | Token::LParen
            | Token::RParen
    )
}

fn problem(at: usize, what: impl Into<String>) -> PredicateProblem {
    PredicateProblem { at, what: what.into(), suggestion: None }
}

/// The byte that a place of the parser's means; columns count characters.
fn offset(text: &str, place: Location) -> usize {
    let mut start = 0;
    for _ in 1..place.line {
        match text.get(start..).and_then(|rest| rest.find('\n')) {
            Some(end) => start += end + 1,
            None => return text.len(),
        }
    }
    let rest = text.get(start..).unwrap_or_default();
    let before = usize::try_from(place.column.saturating_sub(1)).unwrap_or(usize::MAX);
    start + rest.char_indices().nth(before).map_or(rest.len(), |(at, _)| at)
}

fn unparsed(text: &str, error: ParserError) -> PredicateProblem {
    match error {
        ParserError::RecursionLimitExceeded => problem(0, "the filter is nested too deeply"),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            match message.rsplit_once(" at Line: ") {
                Some((what, place)) => problem(located(text, place), spoken(what)),
                None => problem(text.len(), spoken(&message)),
            }
        }
    }
}

fn located(text: &str, place: &str) -> usize {
    let numbers = place.split_once(", Column: ");
    match numbers.map(|(line, column)| (line.trim().parse(), column.trim().parse())) {
        Some((Ok(line), Ok(column))) => offset(text, Location::new(line, column)),
        _ => 0,
    }
}

/// The parser's sentence, the way ours begin.
fn spoken(message: &str) -> String {
    let mut letters = message.chars();
    let said: String =
        letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default();
    match said.strip_suffix("found: EOF") {
        Some(before) => format!("{before}found the end of the filter"),
        None => said,
    }
}

/// What stands on one side of a comparison.
enum Operand {
    Column(String, usize),
    Literal(Literal),
}

struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    /// Where an expression stands; `near` where the parser does not know.
    fn at(&self, span: Span, near: usize) -> usize {
        if span == Span::empty() { near } else { offset(self.text, span.start) }
    }

    fn expression(&self, parsed: &Expr, near: usize) -> Read<Expression<Literal>> {
        let at = self.at(parsed.span(), near);
        match parsed {
            Expr::Nested(inner) => self.expression(inner, at),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                Ok(Expression::Not(Box::new(self.expression(expr, at)?)))
            }
            Expr::BinaryOp { op: joint @ (BinaryOperator::And | BinaryOperator::Or), .. } => {
                self.chain(parsed, joint, at)
            }
            Expr::BinaryOp { left, op, right } => match comparison(op) {
                Some(comparison) => self.compare(left, comparison, right, at),
                None => Err(problem(at, format!("the operator `{op}` is not part of the filter language"))),
            },
            Expr::In { expr, target: InTarget::List(list), negated, .. } => {
                let (column, at) = self.column(expr, at)?;
                if list.is_empty() {
                    return Err(problem(at, "an empty list holds no row"));
                }
                let items = list.iter().map(|item| self.literal(item, at)).collect::<Read<Vec<_>>>()?;
                Ok(test(column, at, Condition::List { within: !negated, items }))
            }
            Expr::Between { expr, negated, low, high } => {
                let (column, at) = self.column(expr, at)?;
                let (low, high) = (self.literal(low, at)?, self.literal(high, at)?);
                Ok(test(column, at, Condition::Range { within: !negated, low, high }))
            }
            Expr::IsNull(inner) => self.null(inner, true, at),
            Expr::IsNotNull(inner) => self.null(inner, false, at),
            Expr::Identifier(_) => {
                let (column, at) = self.column(parsed, at)?;
                Err(PredicateProblem {
                    at,
                    what: "a column alone is no test".to_owned(),
                    suggestion: Some(format!("{} = TRUE", words::name(&column))),
                })
            }
            Expr::Value(_) => {
                Err(problem(at, "a literal alone is no test: a filter asks something of a column"))
            }
            other => Err(self.unknown(other, at)),
        }
    }

    /// A chain of one operator, read from its left end: the parser nests it as deep as it is long.
    fn chain(&self, parsed: &Expr, joint: &BinaryOperator, near: usize) -> Read<Expression<Literal>> {
        let mut rights = Vec::new();
        let mut left = parsed;
        while let Expr::BinaryOp { left: further, op, right } = left
            && op == joint
        {
            rights.push(right);
            left = further;
        }
        let all = *joint == BinaryOperator::And;
        let mut parts = Vec::new();
        for part in std::iter::once(left).chain(rights.into_iter().rev().map(|right| &**right)) {
            match self.expression(part, near)? {
                Expression::All(inner) if all => parts.extend(inner),
                Expression::Any(inner) if !all => parts.extend(inner),
                other => parts.push(other),
            }
        }
        Ok(if all { Expression::All(parts) } else { Expression::Any(parts) })
    }

    fn compare(
        &self,
        left: &Expr,
        comparison: Comparison,
        right: &Expr,
        at: usize,
    ) -> Read<Expression<Literal>> {
        match (self.operand(left, at)?, self.operand(right, at)?) {
            (Operand::Column(column, at), Operand::Literal(literal)) => {
                Ok(test(column, at, Condition::Compare(comparison, literal)))
            }
            (Operand::Literal(literal), Operand::Column(column, at)) => {
                Ok(test(column, at, Condition::Compare(comparison.swapped(), literal)))
            }
            (Operand::Column(..), Operand::Column(_, at)) => {
                Err(problem(at, "a column is compared with a literal, not with another column"))
            }
            (Operand::Literal(_), Operand::Literal(literal)) => {
                Err(problem(literal.at, "a literal is compared with a column, not with another literal"))
            }
        }
    }

    fn null(&self, inner: &Expr, is: bool, near: usize) -> Read<Expression<Literal>> {
        let (column, at) = self.column(inner, near)?;
        Ok(test(column, at, Condition::Null(is)))
    }

    fn column(&self, parsed: &Expr, near: usize) -> Read<(String, usize)> {
        match self.operand(parsed, near)? {
            Operand::Column(name, at) => Ok((name, at)),
            Operand::Literal(literal) => Err(problem(literal.at, "expected a column here")),
        }
    }

    fn literal(&self, parsed: &Expr, near: usize) -> Read<Literal> {
        match self.operand(parsed, near)? {
            Operand::Literal(literal) => Ok(literal),
            Operand::Column(name, at) => Err(PredicateProblem {
                at,
                what: "expected a literal here, not a column".to_owned(),
                suggestion: Some(format!("'{}'", name.replace('\'', "''"))),
            }),
        }
    }

    fn operand(&self, parsed: &Expr, near: usize) -> Read<Operand> {
        let at = self.at(parsed.span(), near);
        match parsed {
            Expr::Nested(inner) => self.operand(inner, at),
            Expr::Identifier(name) => Ok(Operand::Column(identifier(name, at)?, at)),
            Expr::Value(value) => {
                Ok(Operand::Literal(Literal { at, value: literal(&value.value, false, at)? }))
            }
            Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => match &**expr {
                Expr::Value(value) if matches!(value.value, Value::Number(..)) => {
                    let negative = *op == UnaryOperator::Minus;
                    let at = at.saturating_sub(op.to_string().len());
                    Ok(Operand::Literal(Literal { at, value: literal(&value.value, negative, at)? }))
                }
                _ => Err(problem(at, format!("the operator `{op}` is not part of the filter language"))),
            },
            other => Err(self.unknown(other, at)),
        }
    }

    /// Refuses what the language has not, by its name.
    fn unknown(&self, parsed: &Expr, at: usize) -> PredicateProblem {
        let (what, suggestion) = match parsed {
            Expr::CompoundIdentifier(parts) => (
                "a column with its table's name",
                parts
                    .last()
                    .and_then(|last| identifier(last, at).ok())
                    .map(|name| words::name(&name).into_owned()),
            ),
            Expr::Cast { .. } | Expr::TypedString(_) | Expr::Convert { .. } | Expr::Interval(_) => (
                "a type written beside a value",
                Some("the literal alone: its column gives it its type".to_owned()),
            ),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::In { target: InTarget::Subquery(_), .. } => {
                ("a subquery", None)
            }
            Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => {
                ("a match against a pattern", None)
            }
            Expr::IsTrue(_) | Expr::IsNotFalse(_) | Expr::IsFalse(_) | Expr::IsNotTrue(_) => {
                ("IS TRUE or IS FALSE", Some("= TRUE or = FALSE".to_owned()))
            }
            Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => ("IS UNKNOWN", Some("IS NULL".to_owned())),
            Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => ("IS DISTINCT FROM", None),
            Expr::Case { .. } => ("CASE", None),
            Expr::Collate { .. } => ("COLLATE", None),
            Expr::AtTimeZone { .. } => ("AT TIME ZONE", None),
            Expr::Array(_) => ("an array", None),
            Expr::AnyOp { .. } | Expr::AllOp { .. } => ("ANY or ALL", Some("IN (…)".to_owned())),
            Expr::Tuple(_) => ("a row of several values", None),
            Expr::Function(_)
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. } => ("a function", None),
            Expr::UnaryOp { .. } | Expr::BinaryOp { .. } | Expr::JsonAccess { .. } => ("this operator", None),
            _ => ("this", None),
        };
        PredicateProblem { at, what: format!("{what} is not part of the filter language"), suggestion }
    }
}

const fn test(column: String, at: usize, condition: Condition<Literal>) -> Expression<Literal> {
    Expression::Test(Test { column, at, condition })
}

const fn comparison(operator: &BinaryOperator) -> Option<Comparison> {
    match operator {
        BinaryOperator::Eq => Some(Comparison::Equal),
        BinaryOperator::NotEq => Some(Comparison::Unequal),
        BinaryOperator::Lt => Some(Comparison::Less),
        BinaryOperator::LtEq => Some(Comparison::AtMost),
        BinaryOperator::Gt => Some(Comparison::Greater),
        BinaryOperator::GtEq => Some(Comparison::AtLeast),
        _ => None,
    }
}

/// A column's name as PostgreSQL reads it: without quotes, its ASCII letters are small.
fn identifier(name: &Ident, at: usize) -> Read<String> {
    let read = match name.quote_style {
        None => name.value.to_ascii_lowercase(),
        Some(_) => name.value.clone(),
    };
    if name.quote_style.is_none() && words::is_reserved(&read) {
        return Err(PredicateProblem {
            at,
            what: format!("`{read}` is a key word of SQL"),
            suggestion: Some(format!("\"{read}\"")),
        });
    }
    if read.is_empty() {
        return Err(problem(at, "a column's name is not empty"));
    }
    if read.len() > LONGEST_NAME {
        return Err(problem(at, format!("PostgreSQL cuts names off after {LONGEST_NAME} bytes")));
    }
    Ok(read)
}

fn literal(value: &Value, negative: bool, at: usize) -> Read<LiteralValue> {
    let refuse = |what: &str, suggestion: &str| {
        Err(PredicateProblem { at, what: what.to_owned(), suggestion: Some(suggestion.to_owned()) })
    };
    match value {
        Value::Number(digits, false) => {
            let signed = if negative { format!("-{digits}") } else { digits.clone() };
            match Finite::read(&signed) {
                Some(number) => Ok(LiteralValue::Number(number)),
                None => Err(problem(at, format!("`{digits}` is no plain decimal number: write its digits"))),
            }
        }
        Value::SingleQuotedString(text) => Ok(LiteralValue::Text(text.clone())),
        Value::Boolean(value) => Ok(LiteralValue::Boolean(*value)),
        Value::Null => {
            refuse("nothing is ever equal to NULL, greater or less: no row would belong here", "IS NULL")
        }
        Value::DoubleQuotedString(text) => refuse("double quotes are for names", &format!("'{text}'")),
        Value::Placeholder(name) => {
            Err(problem(at, format!("the parameter `{name}` has no value in a plan")))
        }
        _ => refuse(
            "this kind of literal is not part of the filter language",
            "a string in plain quotes: 'text'",
        ),
    }
}
