use proptest::prelude::*;

use super::*;

const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
     Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn signer(name: &str, seed: u8) -> SignerKey {
    SignerKey::from_seed(KeyName::new(name).unwrap(), &[seed; 32])
}

#[test]
fn the_published_note_verifies_under_its_key() {
    let key: VerifierKey = KEY.parse().unwrap();
    assert_eq!(key.to_string(), KEY);
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.to_string(), NOTE);
    let verified = note.verify(std::slice::from_ref(&key)).unwrap();
    assert_eq!(verified.get(), "This is an example message.\n");
    assert_eq!(verified.by(), [key.name().clone()]);
}

#[test]
fn a_private_key_has_one_text_and_never_shows_it() {
    let key = signer("shop.switchyard", 7);
    let text = key.to_secret();
    assert!(text.starts_with("PRIVATE+KEY+shop.switchyard+"));
    let read = SignerKey::from_secret(&format!("{text}\n")).unwrap();
    assert_eq!(read.to_secret(), text);
    let secret = text.rsplit('+').next().unwrap();
    assert!(!format!("{key:?}").contains(secret));
    for wrong in ["", "PRIVATE+KEY+", "PRIVATE+KEY+a+00000000+AQ==", &text.replace("shop", "shup")] {
        assert!(SignerKey::from_secret(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sixteen_signatures_are_read_and_unknown_keys_ignored() {
    let text = "a text\n\nof two parts\n";
    let mut note = signer("known", 1).sign(text).unwrap();
    for seed in 2..=20 {
        note.signatures.extend(signer("other", seed).sign(text).unwrap().signatures);
    }
    let read = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(read.signatures().len(), 20);
    let known = signer("known", 1).verifier().clone();
    assert_eq!(read.verify(std::slice::from_ref(&known)).unwrap().get(), text);
    assert_eq!(read.verify(&[]), Err(NoteError::Unsigned));
    let stranger = signer("known", 99).verifier().clone();
    assert_eq!(read.verify(&[stranger]), Err(NoteError::Unsigned), "the same name, another key");
}

#[test]
fn a_false_signature_of_a_known_key_spoils_a_note_that_another_known_key_signed() {
    let (one, two) = (signer("one", 1), signer("two", 2));
    let mut note = one.sign("right\n").unwrap();
    note.signatures.extend(two.sign("wrong\n").unwrap().signatures);
    let known = [one.verifier().clone(), two.verifier().clone()];
    assert_eq!(note.verify(&known), Err(NoteError::False(two.verifier().name().clone())));
    assert!(note.verify(&known[..1]).is_ok(), "who does not know the second key ignores it");
}

#[test]
fn what_is_not_built_as_a_note_is_refused() {
    let good = signer("a", 1).sign("text\n").unwrap().to_string();
    let long = "x".repeat(MOST_BYTES);
    let line = good.split("\n\n").nth(1).unwrap();
    let many = format!("text\n\n{}", line.repeat(MOST_SIGNATURES + 1));
    for wrong in [
        "",
        "\n",
        "text\n",
        "text\n\n",
        &long,
        &many,
        &good.replace("text", "te\tt"),
        &good.replace("text", "te\rt"),
        &good.replace("text", "te\u{7f}t"),
        &good.replace('\u{2014}', "-"),
        &good.replace(" a ", "  a "),
        &good.replace(" a ", " a+b "),
        good.trim_end(),
        &format!("{good}\n"),
        &format!("{good}more\n"),
    ] {
        assert!(Note::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
    assert!(Note::parse(b"te\xffxt\n\n").is_err());
    assert!(signer("a", 1).sign("no end").is_err());
    assert!(signer("a", 1).sign("bell \u{7}\n").is_err());
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
        assert!(KeyName::new(name).is_err(), "{name:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(text in "[ -~\u{e4}\n]{0,80}", seeds in prop::collection::vec(any::<u8>(), 1..5)) {
        let text = format!("{text}\n");
        let mut note = signer("first", 0).sign(&text).unwrap();
        for seed in seeds {
            note.signatures.extend(signer("more", seed).sign(&text).unwrap().signatures);
        }
        let written = note.to_string();
        let read = Note::parse(written.as_bytes()).unwrap();
        prop_assert_eq!(&read, &note);
        prop_assert_eq!(read.to_string(), written);
    }

    #[test]
    fn any_flipped_bit_is_refused(text in "[ -~\n]{0,60}", seed: u8, at: prop::sample::Index, bit in 0_u8..8) {
        let key = signer("shop.switchyard", seed);
        let mut bytes = key.sign(&format!("{text}\n")).unwrap().to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let verified = Note::parse(&bytes).and_then(|note| note.verify(&[key.verifier().clone()]));
        prop_assert!(verified.is_err(), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _read = Note::parse(&bytes);
    }
}
