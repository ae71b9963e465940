//! Which of many numbers come more than once. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// The numbers that come more than once in sorted pieces, in their order, each once. None: there are more than `most`.
pub fn repeated<I: Iterator<Item = i64>>(mut pieces: Vec<I>, most: usize) -> Option<Vec<i64>> {
    let first = |(at, piece): (usize, &mut I)| piece.next().map(|number| Reverse((number, at)));
    let mut heads: BinaryHeap<_> = pieces.iter_mut().enumerate().filter_map(first).collect();
    let (mut found, mut last) = (Vec::new(), None);
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((number, at)) = *head;
        match pieces[at].next() {
            Some(next) => *head = Reverse((next, at)),
            None => drop(PeekMut::pop(head)),
        }
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
