//! Where a process writes that has no backend slot yet, and so no lane: it ends within the start-up of its connection
//! (too many clients, a bad start-up packet). Fixed places in shared memory, taken without a lock; the sequencer empties
//! them. What finds no place is counted as LOST, and a crash of the server takes what is still here along.

use crate::shared::Shared;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const PLACES: usize = 128;
/// Longest record, bytes: names are cut before.
const BYTES: usize = 2048;

const FREE: u32 = 0;
const WRITING: u32 = 1;
const FULL: u32 = 2;

/// One record on its way.
#[repr(C)]
struct Place {
    state: AtomicU32,
    length: AtomicU32,
    bytes: UnsafeCell<[u8; BYTES]>,
}

#[repr(C)]
pub struct Ring {
    /// Where the next writer begins to look.
    next: AtomicU32,
    _pad: u32,
    places: [Place; PLACES],
}

// Safe: the bytes of a place belong to whoever moved its state from FREE to WRITING, and from FULL on to the one sequencer.
unsafe impl Sync for Ring {}

/// Keeps a record, `u32 epoch ‖ record`, for the sequencer. One that finds no place is counted as lost.
pub(super) fn push(shared: &Shared, record: &[u8]) {
    if !shared.ring.keep(record)
        && let Some(lane) = shared.lane(0)
    {
        // The lane of processes without a lane.
        lane.lost.fetch_add(1, SeqCst);
    }
}

impl Ring {
    fn keep(&self, record: &[u8]) -> bool {
        if record.len() > BYTES {
            return false;
        }
        let first = self.next.fetch_add(1, SeqCst) as usize;
        for place in (0..PLACES).map(|step| &self.places[(first + step) % PLACES]) {
            if place.state.compare_exchange(FREE, WRITING, SeqCst, SeqCst).is_ok() {
                // Safe: this process has just taken the place, and nobody else looks at its bytes before it is FULL.
                unsafe { (&mut (*place.bytes.get()))[..record.len()].copy_from_slice(record) };
                place.length.store(record.len() as u32, SeqCst);
                place.state.store(FULL, SeqCst);
                return true;
            }
        }
        false
    }

    /// The records that wait, each with its place. For the sequencer alone; they stay until `free`.
    pub fn full(&self) -> Vec<(usize, Vec<u8>)> {
        let waiting = self.places.iter().enumerate().filter(|(_, place)| place.state.load(SeqCst) == FULL);
        waiting
            .map(|(number, place)| {
                let length = (place.length.load(SeqCst) as usize).min(BYTES);
                // Safe: a FULL place is written by nobody until the sequencer frees it.
                (number, unsafe { (&(*place.bytes.get()))[..length].to_vec() })
            })
            .collect()
    }

    /// These are in the chain.
    pub fn free(&self, places: &[usize]) {
        places.iter().for_each(|place| self.places[*place].state.store(FREE, SeqCst));
    }
}
