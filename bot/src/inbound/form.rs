//! Bodies of `application/x-www-form-urlencoded`, as the URL standard reads them.

use std::collections::BTreeMap;

/// Names and values; of a name that stands there twice, the first. `None`: not UTF-8.
#[must_use]
pub fn read(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        let value = decode(value.get(1..).unwrap_or_default())?;
        fields.entry(decode(name)?).or_insert(value);
    }
    Some(fields)
}

fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = after.get(..2).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
                .then(|| u8::from_str_radix(digits, 16).ok())?
        });
        match (first, escaped) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let fields =
            read(b"a=1&b=x+y%2Bz&empty=&c&a=2&%C3%A4=%E2%80%9Cq%E2%80%9D&bad=100%&worse=%zz").unwrap();
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("a", "1"),
                ("b", "x y+z"),
                ("bad", "100%"),
                ("c", ""),
                ("empty", ""),
                ("worse", "%zz"),
                ("ä", "“q”")
            ]
        );
        assert_eq!(read(b"a=%ff"), None);
        assert!(read(b"").unwrap().is_empty());
    }
}
