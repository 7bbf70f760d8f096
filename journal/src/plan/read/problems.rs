//! Gathering what is wrong, each with its place, and guessing what was meant.

use std::ops::Range;

use super::super::model::PlanProblem;

/// A change of the text that was read in place of the person's: a misspelt key, put right so that reading goes on.
#[derive(Debug, Clone)]
pub(super) struct Mended {
    /// Where, in the person's text.
    pub(super) at: Range<usize>,
    /// What was read there.
    pub(super) with: &'static str,
}

/// What is wrong so far.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    mended: Vec<Mended>,
    wrong: Vec<PlanProblem>,
    warnings: Vec<PlanProblem>,
}

impl<'t> Problems<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, mended: Vec::new(), wrong: Vec::new(), warnings: Vec::new() }
    }

    /// Something is wrong at this place of the text that is read.
    pub(super) fn add(&mut self, span: &Range<usize>, what: impl Into<String>) {
        self.suggest(span, what, None);
    }

    /// The same, with what was probably meant.
    pub(super) fn suggest(&mut self, span: &Range<usize>, what: impl Into<String>, meant: Option<String>) {
        let problem = self.place(span.start, what.into(), meant);
        if !self.wrong.contains(&problem) {
            self.wrong.push(problem);
        }
    }

    /// Something that a person should know, and that does not stop the plan.
    pub(super) fn warn(&mut self, span: &Range<usize>, what: impl Into<String>) {
        let problem = self.place(span.start, what.into(), None);
        self.warnings.push(problem);
    }

    /// How much is wrong so far.
    pub(super) const fn count(&self) -> usize {
        self.wrong.len()
    }

    /// The lines of what was added after the first `told`.
    pub(super) fn lines(&self, told: usize) -> Vec<usize> {
        self.wrong.iter().skip(told).map(|problem| problem.line).collect()
    }

    /// Forgets some of it, by its number and its line: what only follows from something that is told already.
    pub(super) fn forget(&mut self, follows: impl Fn(usize, usize) -> bool) {
        let mut number = 0;
        self.wrong.retain(|problem| {
            number += 1;
            !follows(number - 1, problem.line)
        });
    }

    /// Another text is read from now on: the person's, with these changes.
    pub(super) fn reading(&mut self, mended: &[Mended]) {
        mended.clone_into(&mut self.mended);
        self.mended.sort_by_key(|each| each.at.start);
    }

    /// What is wrong, and the warnings, both from the top of the text to its end.
    pub(super) fn into_parts(mut self) -> (Vec<PlanProblem>, Vec<PlanProblem>) {
        self.wrong.sort_by_key(|problem| (problem.line, problem.column));
        self.warnings.sort_by_key(|problem| (problem.line, problem.column));
        (self.wrong, self.warnings)
    }

    fn place(&self, offset: usize, what: String, suggestion: Option<String>) -> PlanProblem {
        let offset = original(&self.mended, offset);
        let what = printable(&without_secrets(&what));
        let suggestion = suggestion.filter(|meant| without_secrets(meant) == *meant);
        let suggestion = suggestion.map(|meant| printable(&meant));
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        PlanProblem { line, column, what, suggestion }
    }
}

/// A sentence without the URL's user or the password that somebody wrote into the plan by mistake: it may be said in public.
pub(in super::super) fn without_secrets(what: &str) -> String {
    // A password may hold spaces: from the URL's first word to the one with the last `@`, all may be it.
    if let (Some(scheme), Some(at)) = (what.find("://"), what.rfind('@'))
        && scheme < at
    {
        let (head, rest) = what.split_at(scheme);
        let start = head.rfind(' ').map_or(0, |space| space + 1);
        let tail = rest.split_at(at - scheme).1;
        let end = tail.find(' ').map_or("", |space| tail.split_at(space).1);
        return without_secrets(&format!("{}…{end}", head.split_at(start).0));
    }
    let secret = |word: &&str| word.to_lowercase().contains("password=");
    if !what.split_whitespace().any(|word| secret(&word)) {
        return what.to_owned();
    }
    what.split(' ').map(|word| if secret(&word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
}

/// A sentence without what would command the reader's terminal, or turn its letters round.
fn printable(what: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(what.len());
    for c in what.chars() {
        if c != '\n' && c.is_control() || turns(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Where in the person's text the changed one's place is.
pub(super) fn original(mended: &[Mended], offset: usize) -> usize {
    let (mut read, mut theirs) = (0, 0);
    for each in mended {
        let start = read + each.at.start.saturating_sub(theirs);
        if offset < start {
            break;
        }
        let end = start + each.with.len();
        if offset < end {
            return each.at.start;
        }
        (read, theirs) = (end, each.at.end);
    }
    theirs + offset.saturating_sub(read)
}

/// The person's text with these changes, which are in order.
pub(super) fn with_changes(text: &str, mended: &[Mended]) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut from = 0;
    for each in mended {
        changed.push_str(text.get(from..each.at.start).unwrap_or_default());
        changed.push_str(each.with);
        from = each.at.end;
    }
    changed.push_str(text.get(from..).unwrap_or_default());
    changed
}

/// How many letters apart two words are, if that is few enough for the one to be meant by the other.
pub(super) fn distance(given: &str, known: &str) -> Option<usize> {
    let distance = strsim::osa_distance(&given.to_lowercase(), &known.to_lowercase());
    let longer = given.chars().count().max(known.chars().count());
    let limit = match longer {
        0..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    (distance <= limit && distance < longer).then_some(distance)
}

/// The known word that was probably meant.
pub(super) fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let near = known.into_iter().filter_map(|word| distance(given, word).map(|apart| (apart, word)));
    near.min_by_key(|(apart, _)| *apart).map(|(_, word)| word)
}

/// A length of time: a whole number and a unit.
pub(super) fn length(text: &str) -> Result<std::time::Duration, (String, Option<String>)> {
    let wrong = |meant| {
        let what = format!(
            "`{text}` is not a duration: expected a whole number and a unit, as in 500ms, 60s, 5m, 4h"
        );
        (what, meant)
    };
    let too_little = || {
        (format!("`{text}` is no length of time: expected more than zero, as in 500ms, 60s, 5m, 4h"), None)
    };
    let too_much =
        || (format!("`{text}` is longer than any duration that can be meant: expected fewer digits"), None);
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
    let digits = bare.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = bare.strip_prefix(digits).unwrap_or_default();
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    if !is_number {
        return Err(wrong(None));
    }
    let Ok(number) = digits.parse::<u64>() else { return Err(too_much()) };
    let (unit, times) = match unit {
        "ms" | "msec" | "millis" | "milliseconds" => ("ms", 1),
        "s" | "sec" | "secs" | "second" | "seconds" | "" => ("s", 1),
        "m" | "min" | "mins" | "minute" | "minutes" => ("m", 1),
        "h" | "hr" | "hrs" | "hour" | "hours" => ("h", 1),
        "d" | "day" | "days" => ("h", 24),
        _ => return Err(wrong(None)),
    };
    let Some(number) = number.checked_mul(times) else { return Err(too_much()) };
    if number == 0 {
        return Err(too_little());
    }
    let plain = format!("{number}{unit}");
    if plain != text {
        return Err(wrong(Some(plain)));
    }
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 3_600_000,
    };
    number.checked_mul(millis).map(std::time::Duration::from_millis).ok_or_else(too_much)
}
