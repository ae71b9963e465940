//! Where the records of a time lie in a list that is ordered by another, later time.

/// The first and the last number; none if the first is higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub first: i64,
    pub last: i64,
}

/// The shortest stretch of `oldest` to `newest` that this can vouch for: before it nothing was entered from `from` on,
/// behind it everything was entered after `to`. `time` tells the own time of an entry, which is never later than its
/// entering; None where it is not known: such an entry decides nothing.
pub fn stretch<E>(
    oldest: i64,
    newest: i64,
    from: i64,
    to: i64,
    mut time: impl FnMut(i64) -> Result<Option<i64>, E>,
) -> Result<Stretch, E> {
    // All before `first` may be left out; `from` itself is not surely before it.
    let (mut first, mut end) = (oldest, newest.saturating_add(1));
    while first < end {
        let middle = first + (end - first) / 2;
        match time(middle)? {
            Some(time) if time < from => first = middle + 1,
            _ => end = middle,
        }
    }
    // All from `end` on may be left out.
    let (mut last, mut end) = (first, newest.saturating_add(1));
    while last < end {
        let middle = last + (end - last) / 2;
        match time(middle)? {
            Some(time) if time > to => end = middle,
            _ => last = middle + 1,
        }
    }
    Ok(Stretch { first, last: last - 1 })
}
