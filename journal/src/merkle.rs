//! RFC 6962 hashes: leaf = SHA-256(0x00 ‖ bytes), node = SHA-256(0x01 ‖ left ‖ right), split at the largest
//! power of two below n. A leaf's index is its event's position − 1.

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The leaf of an event's stored bytes.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that only grows, kept as the roots of its complete subtrees: O(log n) space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the complete subtrees, largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
            }
            size >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// How many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Its root; SHA-256 of nothing for an empty tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Sha256::digest([]).into(),
            Some(last) => peaks.fold(*last, |right, left| node(left, &right)),
        }
    }
}

/// A tree that only grows and remembers the roots of all its complete subtrees: 64 bytes an event.
///
/// It tells the root at any size it has had, so that an older log checkpoint can be held against it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Level by level from the leaves up, the roots of the complete subtrees from left to right.
    levels: Vec<Vec<Hash>>,
}

impl History {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in &mut self.levels {
            level.push(hash);
            match level.as_slice() {
                [.., left, right] if level.len().is_multiple_of(2) => hash = node(left, right),
                _ => return,
            }
        }
        self.levels.push(vec![hash]);
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| u64::try_from(leaves.len()).unwrap_or(u64::MAX))
    }

    /// The root that the tree had at a size; none if it has not been that large.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        if size > self.size() {
            return None;
        }
        // The complete subtrees of that size, smallest first: one for each bit of the size.
        let peaks = self.levels.iter().enumerate().filter_map(|(height, level)| {
            let count = size >> height;
            let last = usize::try_from(count.checked_sub(1)?).ok()?;
            (count & 1 == 1).then(|| level.get(last)).flatten()
        });
        Some(
            peaks
                .copied()
                .reduce(|right, left| node(&left, &right))
                .unwrap_or_else(|| Sha256::digest([]).into()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves and roots of the test vectors commonly used for RFC 6962.
    #[test]
    fn roots_match_the_published_vectors() {
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        assert_eq!(hex::encode(tree.root()), roots[0]);
        for (at, text) in leaves.iter().enumerate() {
            tree.push(leaf(&hex::decode(text).unwrap()));
            assert_eq!(hex::encode(tree.root()), roots[at + 1], "size {}", at + 1);
        }
        assert_eq!(tree.size(), 8);
    }

    #[test]
    fn a_history_has_the_root_of_every_size_it_has_had() {
        let (mut tree, mut history) = (Tree::default(), History::default());
        let mut roots = vec![tree.root()];
        for number in 0..200_u32 {
            let hash = leaf(&number.to_be_bytes());
            tree.push(hash);
            history.push(hash);
            roots.push(tree.root());
            assert_eq!(history.size(), tree.size());
        }
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(history.root_at(size as u64).as_ref(), Some(root), "size {size}");
        }
        assert_eq!(history.root_at(201), None);
    }
}
