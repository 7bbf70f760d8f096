//! Slack's own way to write text.

/// What a person typed, from what Slack sends: `&`, `<` and `>` come as entities, mentions and links in angle brackets.
pub(super) fn typed(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        plain.push_str(before);
        match after.split_once('>') {
            Some((inside, tail)) => {
                plain.push_str(&bracketed(inside));
                rest = tail;
            }
            None => {
                plain.push('<');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    // The ampersand last: `&amp;lt;` is what was typed as `&lt;`.
    plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// What stands for a mention, a channel or a link: its label where it has one.
fn bracketed(inside: &str) -> String {
    let (target, label) =
        inside.split_once('|').map_or((inside, None), |(target, label)| (target, Some(label)));
    match (target.chars().next(), label) {
        (Some(mark @ ('@' | '#' | '!')), label) => {
            let name = target.strip_prefix(mark).unwrap_or(target);
            format!("{}{}", if mark == '!' { '@' } else { mark }, label.unwrap_or(name))
        }
        (_, Some(label)) => label.to_owned(),
        (_, None) => target.to_owned(),
    }
}

/// A text without the mention of the bot that it begins with.
pub(super) fn without_mention(text: &str) -> &str {
    let text = text.trim_start();
    match text.strip_prefix("<@").and_then(|rest| rest.split_once('>')) {
        Some((_, rest)) => rest.trim_start(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{typed, without_mention};

    #[test]
    fn entities_links_and_mentions_are_what_was_typed() {
        assert_eq!(typed("a &lt;b&gt; &amp;amp; c"), "a <b> &amp; c");
        assert_eq!(
            typed("see <https://x.example/a|x.example/a> and <https://y.example>"),
            "see x.example/a and https://y.example"
        );
        assert_eq!(typed("<@U12|ana> <#C1|ops> <!here> <@U34>"), "@ana #ops @here @U34");
        assert_eq!(typed("1 < 2"), "1 < 2");
        assert_eq!(without_mention(" <@U99> status"), "status");
        assert_eq!(without_mention("status <@U99>"), "status <@U99>");
    }
}
