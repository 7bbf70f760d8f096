//! Reading one line.
//!
//! Typographic quotes and dashes, which chats and telephones put in the place of typed ones, are read as those.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::{Operation, PhaseName, Position, RequestOptions, Timestamp};

use super::PREFIX;
use super::command::{Command, Object, Opt, Verb};
use super::nearest::nearest;
use super::problem::Problem;

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// As it was written, dashes normalised.
    Bare(String),
    /// What stood in quotes.
    Quoted(String),
    /// `--name` or `--name=value`.
    Option { name: String, value: Option<String> },
}

/// The marks that end a quote which begins with this one; none if it begins no quote.
const fn closing(open: char) -> Option<&'static [char]> {
    match open {
        '"' => Some(&['"']),
        '\'' => Some(&['\'']),
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '«' | '»' => {
            Some(&['\u{201c}', '\u{201d}', '\u{201f}', '«', '»', '"'])
        }
        '\u{2018}' | '\u{2019}' | '\u{201a}' => Some(&['\u{2018}', '\u{2019}', '\'']),
        _ => None,
    }
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Splits a line into words.
fn split(line: &str) -> Result<Vec<Word>, Problem> {
    let mut words = Vec::new();
    let mut rest = line.chars().filter(|c| !matches!(c, '\u{200b}' | '\u{feff}')).peekable();
    loop {
        while rest.next_if(|c| is_gap(*c)).is_some() {}
        let Some(first) = rest.peek().copied() else { return Ok(words) };
        if closing(first).is_some() {
            words.push(Word::Quoted(quote(&mut rest)?));
            continue;
        }
        let mut text = String::new();
        let mut value = None;
        while let Some(c) = rest.next_if(|c| !is_gap(*c)) {
            match c {
                // An em dash is what is made of two hyphens; an en dash of one, but of two before an option's name.
                '—' | '―' => text.push_str("--"),
                '–' if text.is_empty() => text.push_str("--"),
                '–' | '‐' | '‑' | '−' => text.push('-'),
                '=' if text.starts_with("--") => {
                    let quotes = rest.peek().is_some_and(|next| closing(*next).is_some());
                    value = Some(if quotes {
                        quote(&mut rest)?
                    } else {
                        std::iter::from_fn(|| rest.next_if(|c| !is_gap(*c))).collect()
                    });
                    break;
                }
                _ => text.push(c),
            }
        }
        words.push(match text.strip_prefix("--") {
            Some(name) if !name.is_empty() => Word::Option { name: text.to_lowercase(), value },
            _ => Word::Bare(text),
        });
    }
}

/// Reads a quoted text, whose opening mark comes next.
fn quote(rest: &mut impl Iterator<Item = char>) -> Result<String, Problem> {
    let ends = rest.next().and_then(closing).unwrap_or_default();
    let mut text = String::new();
    let mut escaped = false;
    for c in rest {
        if escaped {
            if c != '\\' && !ends.contains(&c) {
                text.push('\\');
            }
            text.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if ends.contains(&c) {
            return Ok(text);
        } else {
            text.push(if c.is_control() { ' ' } else { c });
        }
    }
    Err(Problem::OpenQuote)
}

/// A line's words, sorted into what they are for.
struct Parts {
    bare: Vec<String>,
    options: BTreeMap<Opt, Option<String>>,
}

fn sort(words: Vec<Word>) -> Result<Parts, Problem> {
    let mut parts = Parts { bare: Vec::new(), options: BTreeMap::new() };
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        match word {
            Word::Bare(text) | Word::Quoted(text) => parts.bare.push(text),
            Word::Option { name, value } => {
                let Some(option) = Opt::named(&name) else {
                    let near = nearest(&name, Opt::ALL.iter().map(|each| (*each, each.word())));
                    return Err(Problem::UnknownOption { given: name, near });
                };
                let value = match (option.takes_value(), value) {
                    (false, Some(_)) => return Err(Problem::TakesNoValue { option }),
                    (false, None) => None,
                    (true, Some(value)) => Some(value),
                    (true, None) => {
                        match words.next_if(|next| matches!(next, Word::Bare(_) | Word::Quoted(_))) {
                            Some(Word::Bare(value) | Word::Quoted(value)) => Some(value),
                            Some(Word::Option { .. }) | None => return Err(Problem::NeedsValue { option }),
                        }
                    }
                };
                if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
                    return Err(Problem::NeedsValue { option });
                }
                if parts.options.insert(option, value).is_some() {
                    return Err(Problem::GivenTwice { option });
                }
            }
        }
    }
    Ok(parts)
}

/// What a line is said of.
enum Said {
    Phase(PhaseName),
    Request(Position),
    Topic(Verb),
    Nothing,
}

fn phase_name(given: &str) -> Result<PhaseName, Problem> {
    PhaseName::new(given.to_lowercase()).map_err(|_| Problem::BadPhase { given: given.to_owned() })
}

fn near_verb(word: &str, fits: impl Fn(Verb) -> bool) -> Option<Verb> {
    nearest(word, Verb::ALL.iter().copied().filter(|verb| fits(*verb)).map(|verb| (verb, verb.word())))
}

fn follows_a_phase(verb: Verb) -> bool {
    matches!(verb.object(), Object::Phase | Object::MaybePhase)
}

/// Finds the verb and what it is said of; the words that are left over come with them.
fn find(bare: &[String]) -> Result<(Verb, Said, &[String]), Problem> {
    let [first, rest @ ..] = bare else { return Ok((Verb::Help, Said::Nothing, bare)) };
    let word = first.to_lowercase();
    let verb = Verb::named(&word);
    if let Some(verb) = verb.filter(|verb| verb.object() != Object::Phase) {
        return behind(verb, rest);
    }
    let Some((second, rest)) = rest.split_first() else {
        return Err(match verb {
            Some(verb) => Problem::NeedsPhase { verb },
            None => Problem::NeedsVerb { near: near_verb(&word, |_| true), given: word },
        });
    };
    let action = second.to_lowercase();
    match Verb::named(&action) {
        Some(action) if follows_a_phase(action) => Ok((action, Said::Phase(phase_name(first)?), rest)),
        Some(action) if verb.is_none() => Err(Problem::NotOfAPhase { verb: action }),
        Some(_) | None => Err(match verb {
            Some(verb) => Problem::PhaseFirst { verb, phase: phase_name(second)? },
            None => match near_verb(&action, follows_a_phase) {
                Some(near) => Problem::UnknownWord { given: action, phase: Some(word), near: Some(near) },
                None => match near_verb(&word, |_| true) {
                    Some(near) => Problem::UnknownWord { given: word, phase: None, near: Some(near) },
                    None => Problem::UnknownWord { given: action, phase: Some(word), near: None },
                },
            },
        }),
    }
}

/// Reads what stands behind a verb that comes first.
fn behind(verb: Verb, rest: &[String]) -> Result<(Verb, Said, &[String]), Problem> {
    let Some((next, left)) = rest.split_first() else {
        return match verb.object() {
            Object::Request => Err(Problem::NeedsRequest { verb }),
            Object::Phase | Object::MaybePhase | Object::MaybeVerb | Object::Nothing => {
                Ok((verb, Said::Nothing, rest))
            }
        };
    };
    match verb.object() {
        Object::Nothing => Ok((verb, Said::Nothing, rest)),
        Object::Phase | Object::MaybePhase => Ok((verb, Said::Phase(phase_name(next)?), left)),
        Object::MaybeVerb => {
            let word = next.to_lowercase();
            let word = word.strip_prefix(PREFIX).unwrap_or(&word);
            match Verb::named(word) {
                Some(topic) => Ok((verb, Said::Topic(topic), left)),
                None => Err(Problem::UnknownWord {
                    given: word.to_owned(),
                    phase: None,
                    near: near_verb(word, |_| true),
                }),
            }
        }
        Object::Request => {
            let digits = next.strip_prefix('#').unwrap_or(next);
            let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
            match digits.parse::<u64>() {
                Ok(number) if plain && number > 0 => Ok((verb, Said::Request(Position::new(number)), left)),
                Ok(_) | Err(_) => Err(Problem::BadRequest { verb, given: next.clone() }),
            }
        }
    }
}

/// Reads a line, with or without its leading `/migrate`.
pub(super) fn parse(line: &str) -> Result<Command, Problem> {
    let mut parts = sort(split(line)?)?;
    if parts.bare.first().is_some_and(|first| first.eq_ignore_ascii_case(PREFIX)) {
        parts.bare.remove(0);
    }
    let (verb, said, left) = find(&parts.bare)?;
    if !left.is_empty() {
        return Err(Problem::ExtraWords { verb, given: left.join(" ") });
    }
    let mut options = parts.options;
    if let Some(option) = options.keys().find(|option| !verb.options().contains(option)) {
        return Err(Problem::ForeignOption { verb, option: *option });
    }
    let reason = options.remove(&Opt::Reason).flatten().map(|reason| reason.trim().to_owned());
    Ok(match (said, verb) {
        (Said::Topic(topic), _) => Command::Help { topic: Some(topic) },
        (Said::Request(request), Verb::Deny) => Command::Deny { request, reason },
        (Said::Request(request), Verb::BreakGlass) => Command::BreakGlass { request, reason },
        (Said::Request(request), Verb::Revoke) => Command::Revoke { request },
        (Said::Request(request), _) => Command::Approve { request, reason },
        (Said::Phase(phase), _) => of_phase(verb, phase, reason, options)?,
        (Said::Nothing, Verb::Hold) => Command::Hold { phase: None, reason },
        (Said::Nothing, Verb::Release) => Command::Release { phase: None },
        (Said::Nothing, Verb::Status) => Command::Status { phase: None },
        (Said::Nothing, Verb::Plan) => Command::Plan { phase: None },
        (Said::Nothing, Verb::Whoami) => Command::Whoami,
        (Said::Nothing, Verb::Audit) => Command::Audit,
        (Said::Nothing, _) => Command::Help { topic: None },
    })
}

/// A command about a phase.
fn of_phase(
    verb: Verb,
    phase: PhaseName,
    reason: Option<String>,
    mut options: BTreeMap<Opt, Option<String>>,
) -> Result<Command, Problem> {
    let is_lost = options.remove(&Opt::TargetLost).is_some();
    let is_source_lost = options.remove(&Opt::SourceLost).is_some();
    if let Some(operation) = verb.operation() {
        let plan = options.remove(&Opt::Plan).flatten().map(|text| hash(&text)).transpose()?;
        let confirmed_loss = options.remove(&Opt::Confirm).flatten();
        if confirmed_loss.is_some() && !is_lost {
            return Err(Problem::ForeignOption { verb, option: Opt::Confirm });
        }
        let operation = match () {
            () if is_lost => Operation::FailbackTargetLost,
            () if is_source_lost => Operation::CompleteSourceLost,
            () => operation,
        };
        let not_before = options.remove(&Opt::At).flatten().map(|text| moment(&text)).transpose()?;
        let within = options.remove(&Opt::Within).flatten().map(|text| length(&text)).transpose()?;
        let options = RequestOptions { plan, confirmed_loss, not_before, within, reason };
        return Ok(Command::Request { phase, operation, options });
    }
    Ok(match verb {
        Verb::Abort => Command::Abort { phase, reason },
        Verb::Pause => Command::Pause { phase },
        Verb::Resume => Command::Resume { phase },
        Verb::Retry => Command::Retry { phase },
        Verb::History => Command::History { phase },
        Verb::Hold => Command::Hold { phase: Some(phase), reason },
        Verb::Release => Command::Release { phase: Some(phase) },
        Verb::Status => Command::Status { phase: Some(phase) },
        Verb::Plan => Command::Plan { phase: Some(phase) },
        Verb::Start
        | Verb::Cutover
        | Verb::Failback
        | Verb::Complete
        | Verb::Verify
        | Verb::Retire
        | Verb::Approve
        | Verb::Deny
        | Verb::Revoke
        | Verb::BreakGlass
        | Verb::Help
        | Verb::Whoami
        | Verb::Audit => return Err(Problem::NotOfAPhase { verb }),
    })
}

/// The digits of a plan's hash, or the first of them: at least eight, as people are shown them.
fn hash(text: &str) -> Result<String, Problem> {
    let digits = text.to_lowercase();
    if (8..=64).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err(Problem::BadHash { given: text.to_owned() })
    }
}

/// A moment with its date and its zone: `2026-12-01T22:00Z`, `2026-12-01T22:00:00+01:00`.
///
/// Whoever reads it may be elsewhere, so a time without its zone is nobody's.
fn moment(text: &str) -> Result<Timestamp, Problem> {
    // One way to write it: date, T, time, zone. What the journal's own reader takes besides is left out.
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || "tTzZ:+-.".contains(c));
    let has_date = text.get(10..11).is_some_and(|mark| mark.eq_ignore_ascii_case("t"));
    let with_zone = |text: &str| text.parse::<Timestamp>().ok().filter(|_| is_plain);
    let lacks_zone = with_zone(&format!("{text}Z")).is_some();
    let lacks_date = ["", "Z"].iter().any(|zone| with_zone(&format!("2026-12-01T{text}{zone}")).is_some());
    match with_zone(text).filter(|_| has_date) {
        Some(at) => Ok(at),
        None if lacks_zone || lacks_date => Err(Problem::NoZone { given: text.to_owned() }),
        None => Err(Problem::BadTime { given: text.to_owned() }),
    }
}

/// A length of time: `90s`, `30m`, `2h`, `1d`, or several of them together, `1h30m`.
fn length(text: &str) -> Result<Duration, Problem> {
    let bad = || Problem::BadDuration { given: text.to_owned() };
    let mut seconds: u64 = 0;
    let mut number = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(bad()),
        };
        let many: u64 = std::mem::take(&mut number).parse().map_err(|_| bad())?;
        seconds = many.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
    }
    // A year is far; more would not be a time that there is.
    if number.is_empty() && (1..=366 * 86_400).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(bad())
    }
}
