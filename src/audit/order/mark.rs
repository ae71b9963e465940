//! The one page that the index has: whether the table lies in the order of its ids. Once it does not, only building the
//! index anew finds out whether it does again.

use crate::error::Fault;
use pgrx::pg_sys;

/// "order" in ASCII, and the version of this page.
const MAGIC: u64 = 0x6f72_6465_7200_0001;

#[repr(C)]
struct Mark {
    magic: u64,
    disordered: u64,
}

/// Makes the page of a new index.
pub unsafe fn create(index: pg_sys::Relation, disordered: bool) {
    // Safe: called by the build, which alone knows the new file; the page is changed as a copy and logged as a whole.
    unsafe {
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        if pg_sys::RelationGetNumberOfBlocksInFork(index, fork) != 0 {
            Fault::internal("the index has a page before it was built").raise();
        }
        let buffer = pg_sys::ReadBuffer(index, pg_sys::InvalidBlockNumber);
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
        let change = pg_sys::GenericXLogStart(index);
        let page = pg_sys::GenericXLogRegisterBuffer(change, buffer, pg_sys::GENERIC_XLOG_FULL_IMAGE as i32);
        pg_sys::PageInit(page, pg_sys::BLCKSZ as usize, 0);
        let mark = pg_sys::PageGetContents(page).cast::<Mark>();
        mark.write(Mark { magic: MAGIC, disordered: u64::from(disordered) });
        (*page.cast::<pg_sys::PageHeaderData>()).pd_lower = (mark.add(1) as usize - page as usize) as u16;
        pg_sys::GenericXLogFinish(change);
        pg_sys::UnlockReleaseBuffer(buffer);
    }
}

/// Whether the table does not lie in its order. What cannot be read says so too.
pub unsafe fn is_disordered(index: pg_sys::Relation) -> bool {
    // Safe: the index is open and locked; what is read is copied under the page's lock.
    unsafe {
        if pg_sys::RelationGetNumberOfBlocksInFork(index, pg_sys::ForkNumber::MAIN_FORKNUM) == 0 {
            return true;
        }
        let buffer = pg_sys::ReadBuffer(index, 0);
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let mark = pg_sys::PageGetContents(pg_sys::BufferGetPage(buffer)).cast::<Mark>().read();
        pg_sys::UnlockReleaseBuffer(buffer);
        mark.magic != MAGIC || mark.disordered != 0
    }
}

/// From now on the table does not lie in its order, whatever becomes of the transaction.
pub unsafe fn set_disordered(index: pg_sys::Relation) {
    // Safe: as above; the changed copy of the page is logged and put back under its lock.
    unsafe {
        if is_disordered(index) {
            return;
        }
        let buffer = pg_sys::ReadBuffer(index, 0);
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
        let change = pg_sys::GenericXLogStart(index);
        let page = pg_sys::GenericXLogRegisterBuffer(change, buffer, 0);
        (*pg_sys::PageGetContents(page).cast::<Mark>()).disordered = 1;
        pg_sys::GenericXLogFinish(change);
        pg_sys::UnlockReleaseBuffer(buffer);
    }
}
