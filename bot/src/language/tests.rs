use journal::{Operation, PhaseName, Position, RequestOptions};
use proptest::prelude::*;

use super::*;

fn one(line: &str) -> Result<Command, Problem> {
    let mut heard = read(line, Dialect::Terminal);
    assert_eq!(heard.len(), 1, "{line}");
    heard.remove(0).said
}

fn phase(name: &str) -> PhaseName {
    PhaseName::new(name).unwrap()
}

fn request(operation: Operation) -> Command {
    Command::Request { phase: phase("region-a"), operation, options: RequestOptions::default() }
}

/// The lines of a Markdown text that are commands.
fn lines_of(text: &str) -> Vec<usize> {
    read(text, Dialect::Markdown).into_iter().map(|heard| heard.line).collect()
}

#[test]
fn every_command_is_read_with_and_without_its_prefix() {
    for (line, command) in [
        ("region-a start", request(Operation::Start)),
        ("region-a cutover", request(Operation::Cutover)),
        ("region-a failback", request(Operation::Failback)),
        ("region-a failback --target-lost", request(Operation::FailbackTargetLost)),
        ("region-a complete --source-lost", request(Operation::CompleteSourceLost)),
        ("region-a complete", request(Operation::Complete)),
        ("region-a verify", request(Operation::Verify)),
        ("region-a retire", request(Operation::Retire)),
        ("region-a pause", Command::Pause { phase: phase("region-a") }),
        ("region-a history", Command::History { phase: phase("region-a") }),
        ("approve #41", Command::Approve { request: Position::new(41), reason: None }),
        ("approve 41", Command::Approve { request: Position::new(41), reason: None }),
        ("break-glass #41", Command::BreakGlass { request: Position::new(41), reason: None }),
        (
            "Break-Glass #41 --reason \"it burns\"",
            Command::BreakGlass { request: Position::new(41), reason: Some("it burns".to_owned()) },
        ),
        ("revoke #41", Command::Revoke { request: Position::new(41) }),
        ("deny #41", Command::Deny { request: Position::new(41), reason: None }),
        (
            "deny #41 --reason \"too late\"",
            Command::Deny { request: Position::new(41), reason: Some("too late".to_owned()) },
        ),
        ("hold --reason=freeze", Command::Hold { phase: None, reason: Some("freeze".to_owned()) }),
        ("release region-a", Command::Release { phase: Some(phase("region-a")) }),
        ("region-a status", Command::Status { phase: Some(phase("region-a")) }),
        ("status", Command::Status { phase: None }),
        ("help cutover", Command::Help { topic: Some(Verb::Cutover) }),
        ("help", Command::Help { topic: None }),
        ("whoami", Command::Whoami),
        ("audit", Command::Audit),
    ] {
        assert_eq!(one(line), Ok(command.clone()), "{line}");
        let prefixed = format!("/migrate {line}");
        assert_eq!(one(&prefixed), Ok(command.clone()), "{prefixed}");
        assert_eq!(read(&prefixed, Dialect::Markdown).remove(0).said, Ok(command), "{prefixed}");
    }
    assert_eq!(one("/migrate"), Ok(Command::Help { topic: None }));
    assert_eq!(one("/Migrate Region-A CUTOVER"), Ok(request(Operation::Cutover)));
}

#[test]
fn typographic_quotes_and_dashes_are_read_as_the_typed_ones() {
    let denied =
        Command::Deny { request: Position::new(4), reason: Some("not “now”, it's late".to_owned()) };
    assert_eq!(one("deny #4 —reason \"not “now”, it's late\""), Ok(denied));
    let aborted = Command::Abort { phase: phase("region-a"), reason: Some("it's slow".to_owned()) };
    assert_eq!(one("region–a abort –reason “it's slow”"), Ok(aborted.clone()));
    assert_eq!(one("region-a\u{a0}abort --reason=„it's slow“"), Ok(aborted));
}

#[test]
fn a_mistyped_verb_gets_the_nearest_one() {
    let near = |line| match one(line) {
        Err(Problem::UnknownWord { near, .. } | Problem::NeedsVerb { near, .. }) => near,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(near("region-a cutvoer"), Some(Verb::Cutover));
    assert_eq!(near("region-a stop"), None);
    assert_eq!(near("aprove #41"), Some(Verb::Approve));
    assert_eq!(near("stauts"), Some(Verb::Status));
    assert_eq!(near("help cutovr"), Some(Verb::Cutover));
}

#[test]
fn a_verb_without_its_target_is_refused() {
    assert_eq!(one("cutover"), Err(Problem::NeedsPhase { verb: Verb::Cutover }));
    assert_eq!(
        one("cutover region-a"),
        Err(Problem::PhaseFirst { verb: Verb::Cutover, phase: phase("region-a") })
    );
    assert_eq!(one("approve"), Err(Problem::NeedsRequest { verb: Verb::Approve }));
    for given in ["#", "#0", "#-1", "#+1", "41x", "#99999999999999999999999"] {
        let refused = Problem::BadRequest { verb: Verb::Deny, given: given.to_owned() };
        assert_eq!(one(&format!("deny {given}")), Err(refused));
    }
    assert_eq!(one("region-a approve"), Err(Problem::NotOfAPhase { verb: Verb::Approve }));
}

#[test]
fn nothing_of_a_line_is_ignored() {
    let extra = |verb, given: &str| Err(Problem::ExtraWords { verb, given: given.to_owned() });
    assert_eq!(one("region-a cutover please"), extra(Verb::Cutover, "please"));
    assert_eq!(one("/migrate region-a cutover <!-- not yet"), extra(Verb::Cutover, "<!-- not yet"));
    assert_eq!(one("approve #41 #42"), extra(Verb::Approve, "#42"));
    assert_eq!(
        one("region-a pause --reason x"),
        Err(Problem::ForeignOption { verb: Verb::Pause, option: Opt::Reason })
    );
    assert_eq!(one("region-a cutover --plan"), Err(Problem::NeedsValue { option: Opt::Plan }));
    assert_eq!(one("region-a cutover --plan xyz"), Err(Problem::BadHash { given: "xyz".to_owned() }));
    assert_eq!(
        one("region-a cutover --paln 1a2b3c4d"),
        Err(Problem::UnknownOption { given: "--paln".to_owned(), near: Some(Opt::Plan) })
    );
    assert_eq!(one("hold --reason a --reason b"), Err(Problem::GivenTwice { option: Opt::Reason }));
    assert_eq!(one("hold --reason \"a"), Err(Problem::OpenQuote));
    assert_eq!(
        one("region-a cutover --target-lost"),
        Err(Problem::ForeignOption { verb: Verb::Cutover, option: Opt::TargetLost })
    );
}

#[test]
fn a_moment_has_its_date_and_its_zone_and_a_length_its_unit() {
    let options = |line: &str| match one(line) {
        Ok(Command::Request { options, .. }) => (options.not_before, options.within, options.reason),
        other => panic!("{line}: {other:?}"),
    };
    let at = Some("2026-12-01T21:00:00Z".parse().unwrap());
    for time in
        ["2026-12-01T22:00+01:00", "2026-12-01T21:00Z", "2026-12-01t21:00:00z", "2026-12-01T21:00:00.000Z"]
    {
        assert_eq!(options(&format!("region-a cutover --at {time}")), (at, None, None), "{time}");
    }
    let within =
        |text: &str| options(&format!("region-a cutover --within {text}")).1.map(|within| within.as_secs());
    assert_eq!(
        (within("90s"), within("30m"), within("2H"), within("1d")),
        (Some(90), Some(1800), Some(7200), Some(86_400))
    );
    assert_eq!(within("1h30m"), Some(5400));
    let all = options("region-a cutover --at=2026-12-01T21:00Z --within=2h --reason \"the quiet hour\"");
    assert_eq!(all, (at, Some(std::time::Duration::from_secs(7200)), Some("the quiet hour".to_owned())));
    for given in ["22:00", "22:00Z", "2026-12-01T22:00", "2026-12-01T22:00:30"] {
        assert_eq!(
            one(&format!("region-a cutover --at {given}")),
            Err(Problem::NoZone { given: given.to_owned() })
        );
    }
    for given in ["soon", "2026-13-01T22:00Z", "2026-12-01", "T", "2026-12-01T22:00[Europe/Berlin]", "é"] {
        assert_eq!(
            one(&format!("region-a cutover --at {given}")),
            Err(Problem::BadTime { given: given.to_owned() })
        );
    }
    for given in ["2", "0s", "h", "2w", "-2h", "367d", "99999999999999999999d", "1.5h"] {
        let refused = Err(Problem::BadDuration { given: given.to_owned() });
        assert_eq!(one(&format!("region-a cutover --within {given}")), refused);
    }
}

#[test]
fn several_commands_are_read_in_their_order() {
    let text = "Lag looks fine.\n\n/migrate approve #41\n/migrate approve #42\n\nthanks\n/migrate stauts";
    assert_eq!(lines_of(text), [3, 4, 7]);
    let many = "/migrate status\n".repeat(MOST_COMMANDS + 5);
    let heard = read(&many, Dialect::Markdown);
    assert_eq!(heard.len(), MOST_COMMANDS + 1);
    assert_eq!(heard.last().unwrap().said, Err(Problem::TooMany));
}

#[test]
fn case_13_what_is_quoted_shown_or_linked_is_text() {
    for text in [
        "```\n/migrate region-a cutover\n```",
        "````md\n```\n/migrate region-a cutover\n```\n````",
        "~~~\n/migrate region-a cutover",
        "    /migrate region-a cutover",
        "\t/migrate region-a cutover",
        "`/migrate region-a cutover`",
        "see `the\n/migrate region-a cutover\nline`",
        "> /migrate region-a cutover",
        "> ana wrote a line that the mail program wrapped:\n/migrate region-a cutover",
        ">> deep\n> > deeper\n  /migrate region-a cutover",
        "<!-- /migrate region-a cutover -->",
        "<!--\n\n/migrate region-a cutover\n\n-->",
        "text <!-- hidden\n/migrate region-a cutover\n--> text",
        "<details>\n<summary>how</summary>\n\n/migrate region-a cutover\n\n</details>",
        "<pre>\n/migrate region-a cutover\n</pre>",
        "# /migrate region-a cutover",
        "/migrate region-a cutover\n===",
        "/migrate region-a cutover\n---",
        "[/migrate region-a cutover](https://example.org)",
        "[do\n/migrate region-a cutover\n](https://example.org)",
        "![\n/migrate region-a cutover\n](x.png)",
        "| /migrate region-a cutover |",
        "- /migrate region-a cutover",
        "please /migrate region-a cutover",
        "/migrated region-a cutover",
        "//migrate region-a cutover",
    ] {
        assert_eq!(lines_of(text), Vec::<usize>::new(), "{text}");
    }
}

#[test]
fn what_only_looks_quoted_is_a_command() {
    for (text, line) in [
        ("```\ncode\n```\n/migrate status", 4),
        ("> quote\n\n/migrate status", 3),
        ("use `<!--` for comments\n/migrate status", 2),
        ("a < b, and <phase> is a word\n/migrate status", 2),
        ("<!-- note --> seen\n/migrate status", 2),
        ("a stray ` mark\n/migrate status", 2),
        ("a [stray mark\n/migrate status", 2),
        ("<details>x</details>\n/migrate status", 2),
        ("\\`/not code\n/migrate status\\`", 2),
        ("  /migrate status\r", 1),
        ("> quote\n```\ncode\n```\n/migrate status", 5),
    ] {
        assert_eq!(lines_of(text), [line], "{text}");
    }
}

fn a_phase() -> impl Strategy<Value = PhaseName> {
    // A phase may be called as it likes, even after a verb.
    prop_oneof![
        4 => "[a-z0-9_][a-z0-9_-]{0,39}".prop_map(|name| PhaseName::new(name).unwrap()),
        1 => proptest::sample::select(Verb::ALL)
            .prop_filter("these come first themselves", |verb| verb.object() == Object::Phase)
            .prop_map(|verb| PhaseName::new(verb.word()).unwrap()),
    ]
    .prop_filter("a verb that comes first", |name| {
        Verb::named(name.as_str()).is_none_or(|verb| verb.object() == Object::Phase)
    })
}

fn a_text() -> impl Strategy<Value = String> {
    "[^\\p{C}\\s]([^\\p{C}]{0,30}[^\\p{C}\\s])?".prop_filter("nothing to trim", |text| text.trim() == text)
}

fn a_command() -> impl Strategy<Value = Command> {
    let number = (1..=u64::MAX).prop_map(Position::new);
    let reason = || proptest::option::of(a_text());
    let options = (proptest::option::of("[0-9a-f]{8,64}"), reason());
    let at = (0..4_000_000_000_000_i64).prop_map(journal::Timestamp::from_millis);
    let within = (1..=366 * 86_400_u64).prop_map(std::time::Duration::from_secs);
    let times = (proptest::option::of(at), proptest::option::of(within));
    let operation = proptest::sample::select(Operation::ALL.to_vec());
    prop_oneof![
        (a_phase(), operation, options, times, reason()).prop_map(
            |(phase, operation, (plan, loss), (not_before, within), reason)| {
                let confirmed_loss = loss.filter(|_| operation == Operation::FailbackTargetLost);
                let options = RequestOptions { plan, confirmed_loss, not_before, within, reason };
                Command::Request { phase, operation, options }
            }
        ),
        (a_phase(), reason()).prop_map(|(phase, reason)| Command::Abort { phase, reason }),
        a_phase().prop_map(|phase| Command::Pause { phase }),
        a_phase().prop_map(|phase| Command::Resume { phase }),
        a_phase().prop_map(|phase| Command::Retry { phase }),
        a_phase().prop_map(|phase| Command::History { phase }),
        (number.clone(), reason()).prop_map(|(request, reason)| Command::Approve { request, reason }),
        (number.clone(), reason()).prop_map(|(request, reason)| Command::Deny { request, reason }),
        (number.clone(), reason()).prop_map(|(request, reason)| Command::BreakGlass { request, reason }),
        number.prop_map(|request| Command::Revoke { request }),
        (proptest::option::of(a_phase()), reason())
            .prop_map(|(phase, reason)| Command::Hold { phase, reason }),
        proptest::option::of(a_phase()).prop_map(|phase| Command::Release { phase }),
        proptest::option::of(a_phase()).prop_map(|phase| Command::Status { phase }),
        proptest::option::of(a_phase()).prop_map(|phase| Command::Plan { phase }),
        proptest::option::of(proptest::sample::select(Verb::ALL)).prop_map(|topic| Command::Help { topic }),
        Just(Command::Whoami),
        Just(Command::Audit),
    ]
}

#[test]
fn no_text_takes_longer_than_its_length_allows() {
    // Each is read to its end in a moment, or, where every beginning looks for its end, not before the day is over.
    let runs: String = (1..600).map(|length| format!("{} ", "`".repeat(length))).collect();
    let many = |piece: &str| piece.repeat(300_000 / piece.len());
    for text in [
        many("["),
        many("[]("),
        many("[]["),
        many("<a "),
        many("<b></b>") + &many("a"),
        many("<b>") + &many("</i>"),
        many("<!--"),
        many("\\"),
        runs,
    ] {
        assert!(lines_of(&format!("{text}\n/migrate status")).len() <= 1);
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(command in a_command()) {
        let line = command.to_string();
        prop_assert_eq!(one(&line), Ok(command.clone()), "{}", line);
        let heard = read(&line, Dialect::Markdown);
        prop_assert_eq!(heard.len(), 1, "{}", &line);
        prop_assert_eq!(&heard[0].said, &Ok(command), "{}", line);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _read = (read(&text, Dialect::Terminal), read(&text, Dialect::Markdown));
    }

    #[test]
    fn no_text_of_the_marks_it_knows_makes_the_reader_panic(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "/migrate", " ", "\n", "\r\n", "region-a", "cutover", "approve", "#41", "#", "--reason", "--plan=",
                "\"", "“", "'", "\\", "`", "```", "~~~", ">", "<", "<!--", "-->", "<details>", "</details>", "[", "](",
                ")", "—", "–", "=", "---", "\t", "\u{200b}", "é",
            ]),
            0..40,
        ),
    ) {
        let text = pieces.concat();
        let _read = (read(&text, Dialect::Terminal), read(&text, Dialect::Markdown));
    }
}
