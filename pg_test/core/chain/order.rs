//! Records in the order of the disk come out in the order of their ids, or not at all.

use super::{Row, chain};
use crate::core::chain::{Disorder, Order};
use proptest::prelude::*;

/// The rows that come out, if all do.
fn ordered(rows: &[Row], first: i64) -> Result<Vec<Row>, Disorder> {
    let mut order = Order::new(first);
    let mut out = Vec::new();
    for row in rows {
        order.push(row.id, &row.record, &row.prev, &row.hash, |id, record, prev, hash| {
            out.push(Row { id, record: record.to_vec(), prev: prev.to_vec(), hash: hash.to_vec() });
        })?;
    }
    order.finish().map(|()| out)
}

#[test]
fn an_id_twice_a_gap_or_another_beginning_is_disorder() {
    let rows = chain(9);
    assert_eq!(ordered(&rows[2..], 3), Ok(rows[2..].to_vec()));
    assert_eq!(ordered(&rows[2..], 1), Err(Disorder));
    assert_eq!(ordered(&rows, 2), Err(Disorder));
    for k in 0..9 {
        let twice = [&rows[..], &rows[k..=k]].concat();
        assert_eq!(ordered(&twice, 1), Err(Disorder));
        let early = [&rows[k..=k], &rows[..]].concat();
        assert_eq!(ordered(&early, 1), Err(Disorder));
        let gap = [&rows[..k], &rows[k + 1..]].concat();
        assert_eq!(ordered(&gap, 1).is_ok(), k == 8, "a missing end is no gap");
    }
    for id in [i64::MIN, -1, 0] {
        assert_eq!(ordered(&[Row { id, ..rows[0].clone() }], 1), Err(Disorder));
    }
    assert_eq!(ordered(&[Row { id: i64::MAX, ..rows[0].clone() }], i64::MAX), Err(Disorder));
}

#[test]
fn what_waits_is_bounded() {
    let row = &chain(1)[0];
    let mut order = Order::new(1);
    let record = vec![0; 1 << 20];
    let waiting = (2..100).take_while(|id| order.push(*id, &record, &row.prev, &row.hash, |_, _, _, _| ()).is_ok());
    assert!((20..40).contains(&waiting.count()), "about 32 MiB may wait");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_order_of_the_disk_is_put_right(rows in Just(chain(20)).prop_shuffle()) {
        prop_assert_eq!(ordered(&rows, 1), Ok(chain(20)));
    }
}
