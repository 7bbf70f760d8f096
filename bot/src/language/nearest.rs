//! Did you mean: edit distance.

/// How many letters must be added, dropped, changed or swapped with their neighbour to make one word the other
/// (the restricted Damerau–Levenshtein distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous: Option<char> = None;
    for (row, letter) in one.chars().enumerate() {
        let mut next = vec![row + 1];
        for (column, against) in other.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, column) + usize::from(letter != *against))
                .min(at(&last, column + 1) + 1)
                .min(at(&next, column) + 1);
            let swapped = column
                .checked_sub(1)
                .filter(|left| other.get(*left) == Some(&letter) && previous == Some(*against));
            if let Some(left) = swapped {
                best = best.min(at(&before, left) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
        previous = Some(letter);
    }
    last.last().copied().unwrap_or(0)
}

/// The candidate nearest to a word, if it is near enough to be meant: within one slip for up to four letters,
/// within two for more.
pub fn nearest<'c, T: Copy>(word: &str, candidates: impl IntoIterator<Item = (T, &'c str)>) -> Option<T> {
    if word.chars().count() > 40 {
        return None;
    }
    candidates
        .into_iter()
        .map(|(candidate, name)| (distance(word, name), name.chars().count(), candidate))
        .filter(|(slips, length, _)| *slips <= if *length > 4 { 2 } else { 1 })
        .min_by_key(|(slips, _, _)| *slips)
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_counts_one_and_a_swap_of_neighbours_too() {
        assert_eq!(distance("cutover", "cutover"), 0);
        assert_eq!(distance("cutovr", "cutover"), 1);
        assert_eq!(distance("ctuover", "cutover"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("banana", [(1, "start"), (2, "retry")]), None);
        assert_eq!(nearest("retyr", [(1, "start"), (2, "retry")]), Some(2));
    }
}
