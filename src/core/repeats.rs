//! Which of many numbers come more than once, and how many sorted pieces they are kept in. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Pieces of about one size that become one.
pub const MERGED: usize = 16;
/// Fewest numbers that are kept in memory for one check, 64 kB, however little is allowed.
pub const FLOOR: usize = 8_192;

/// How many numbers each of some checks keeps in memory, of so many bytes for all.
pub fn kept(bytes: usize, checks: usize) -> usize {
    (bytes / size_of::<i64>() / checks.max(1)).max(FLOOR)
}

/// How many of the last pieces are to become one now; each is given by how often its numbers were merged. So each number
/// is written once for each power of `MERGED` that the count of pieces passes, and never are there more than `MERGED` - 1
/// pieces of each of these, whatever the table: 75 for a million pieces written.
pub fn due(levels: &[u32]) -> Option<usize> {
    let last = levels.last()?;
    let alike = levels.iter().rev().take_while(|level| *level == last).count();
    (alike >= MERGED).then_some(alike)
}

/// The numbers of sorted pieces in their order, each as often as it comes.
pub struct Merged<I> {
    pieces: Vec<I>,
    heads: BinaryHeap<Reverse<(i64, usize)>>,
}

impl<I: Iterator<Item = i64>> Merged<I> {
    pub fn of(mut pieces: Vec<I>) -> Merged<I> {
        let first = |(at, piece): (usize, &mut I)| piece.next().map(|number| Reverse((number, at)));
        let heads = pieces.iter_mut().enumerate().filter_map(first).collect();
        Merged { pieces, heads }
    }
}

impl<I: Iterator<Item = i64>> Iterator for Merged<I> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((number, at)) = *head;
        match self.pieces[at].next() {
            Some(next) => *head = Reverse((next, at)),
            None => drop(PeekMut::pop(head)),
        }
        Some(number)
    }
}

/// The numbers that come more than once in sorted pieces, in their order, each once. None: there are more than `most`.
pub fn repeated<I: Iterator<Item = i64>>(pieces: Vec<I>, most: usize) -> Option<Vec<i64>> {
    let (mut found, mut last) = (Vec::new(), None);
    for number in Merged::of(pieces) {
        if last == Some(number) && found.last() != Some(&number) {
            if found.len() == most {
                return None;
            }
            found.push(number);
        }
        last = Some(number);
    }
    Some(found)
}
