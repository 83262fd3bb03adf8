//! Long sorted lists of the state, kept in pages: a change reads and writes one page, or two, however long the list is.
//!
//! The head of a list stands in [`Schedule`], each page is a value of its own ([`key::page`]). A page that is full is split; one
//! that has become small is joined with its neighbour, so that there are never many pages with little in them.

use std::fmt::Debug;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Key, key,
    state::{Deadline, Schedule, Waiting},
    view::{Halt, View},
};

/// Most entries of one page.
const PAGE_MAX: usize = 32;
/// Two neighbours with no more entries than this become one page.
const JOINED_MAX: usize = PAGE_MAX / 2;

/// The head of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages<T> {
    pages: Vec<Page<T>>,
    /// Number of the next new page.
    next: u64,
}

/// One page, as its list's head knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page<T> {
    number: u64,
    /// Its least entry.
    first: T,
    /// How many entries it has, at least one.
    len: u32,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), next: 0 }
    }
}

impl<T: Copy> Pages<T> {
    /// How many entries the list has.
    pub fn len(&self) -> usize {
        self.pages.iter().map(|page| page.len as usize).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The numbers of its pages ([`key::page`]), in order.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.iter().map(|page| page.number)
    }

    /// The least entry.
    pub fn first(&self) -> Option<T> {
        self.pages.first().map(|page| page.first)
    }
}

/// What a list is made of.
pub(crate) trait Entry: Copy + Debug + Ord + Serialize + DeserializeOwned {
    /// The name of the list in the keys of its pages.
    const LIST: &'static str;
    fn list(schedule: &Schedule) -> &Pages<Self>;
    fn list_mut(schedule: &mut Schedule) -> &mut Pages<Self>;
}

impl Entry for Waiting {
    const LIST: &'static str = "waiting";
    fn list(schedule: &Schedule) -> &Pages<Self> {
        &schedule.waiting
    }
    fn list_mut(schedule: &mut Schedule) -> &mut Pages<Self> {
        &mut schedule.waiting
    }
}

impl Entry for Deadline {
    const LIST: &'static str = "deadlines";
    fn list(schedule: &Schedule) -> &Pages<Self> {
        &schedule.deadlines
    }
    fn list_mut(schedule: &mut Schedule) -> &mut Pages<Self> {
        &mut schedule.deadlines
    }
}

/// Where the page stands that an entry would be put into; `None` if there is none yet.
pub(crate) fn home<T: Entry>(view: &mut View, entry: T) -> Result<Option<Key>, Halt> {
    let pages = &T::list(view.schedule()?).pages;
    Ok(pages.get(place(pages, entry)).map(|page| key::page(T::LIST, page.number)))
}

/// The last page that begins before an entry; the first one takes what is less than everything.
fn place<T: Ord>(pages: &[Page<T>], entry: T) -> usize {
    pages.partition_point(|page| page.first < entry).saturating_sub(1)
}

/// Puts an entry into its list.
pub(crate) fn insert<T: Entry>(view: &mut View, entry: T) -> Result<(), Halt> {
    let pages = &T::list(view.schedule()?).pages;
    let at = place(pages, entry);
    let Some(page) = pages.get(at).copied() else { return add_page(view, 0, &[entry]) };
    let mut entries: Vec<T> = read(view, page.number)?;
    let place = entries.partition_point(|other| *other < entry);
    entries.insert(place, entry);
    if entries.len() > PAGE_MAX {
        // A list that grows at its end fills its pages.
        let cut = if place + 1 == entries.len() { place } else { entries.len() / 2 };
        add_page(view, at + 1, &entries.split_off(cut))?;
    }
    put_page(view, at, &entries)
}

/// Takes an entry out of its list. Answers whether it was there.
pub(crate) fn remove<T: Entry>(view: &mut View, entry: T) -> Result<bool, Halt> {
    let pages = &T::list(view.schedule()?).pages;
    let Some(at) = pages.partition_point(|page| page.first <= entry).checked_sub(1) else { return Ok(false) };
    let number = pages[at].number;
    // Its neighbours may be needed below; they are fetched with it.
    let near = &pages[at.saturating_sub(1)..(at + 2).min(pages.len())];
    let near: Vec<Key> = near.iter().map(|page| key::page(T::LIST, page.number)).collect();
    view.expect(near)?;
    let mut entries: Vec<T> = read(view, number)?;
    let Ok(place) = entries.binary_search(&entry) else { return Ok(false) };
    entries.remove(place);
    if entries.is_empty() {
        drop_page::<T>(view, at)?;
    } else {
        put_page(view, at, &entries)?;
        join::<T>(view, at)?;
        if let Some(before) = at.checked_sub(1) {
            join::<T>(view, before)?;
        }
    }
    Ok(true)
}

/// Entries above `after`, ascending, as long as `wanted` says yes; at most `count`.
pub(crate) fn collect<T: Entry>(
    view: &mut View,
    after: Option<T>,
    count: usize,
    wanted: impl Fn(&T) -> bool,
) -> Result<Vec<T>, Halt> {
    let pages = &T::list(view.schedule()?).pages;
    let from = after.map_or(0, |after| pages.partition_point(|page| page.first <= after).saturating_sub(1));
    let (mut numbers, mut whole) = (Vec::new(), 0);
    for page in &pages[from..] {
        let begins_above = Some(page.first) > after;
        if whole >= count || begins_above && !wanted(&page.first) {
            break;
        }
        numbers.push(page.number);
        whole += if begins_above { page.len as usize } else { 0 };
    }
    view.expect(numbers.iter().map(|number| key::page(T::LIST, *number)))?;
    let mut found = Vec::new();
    for number in numbers {
        let entries: Vec<T> = read(view, number)?;
        found.extend(entries.into_iter().filter(|entry| Some(*entry) > after).take_while(&wanted));
    }
    found.truncate(count);
    Ok(found)
}

/// Joins the page at `at` with the one behind it, if both are small.
fn join<T: Entry>(view: &mut View, at: usize) -> Result<(), Halt> {
    let pages = &T::list(view.schedule()?).pages;
    let (Some(page), Some(next)) = (pages.get(at).copied(), pages.get(at + 1).copied()) else { return Ok(()) };
    if page.len as usize + next.len as usize > JOINED_MAX {
        return Ok(());
    }
    let mut entries: Vec<T> = read(view, page.number)?;
    entries.extend(read::<T>(view, next.number)?);
    drop_page::<T>(view, at + 1)?;
    put_page(view, at, &entries)
}

fn read<T: Entry>(view: &mut View, number: u64) -> Result<Vec<T>, Halt> {
    let key = key::page(T::LIST, number);
    view.get(&key)?.ok_or(Halt::Damaged(key))
}

/// Puts a new page at position `at` of the list.
fn add_page<T: Entry>(view: &mut View, at: usize, entries: &[T]) -> Result<(), Halt> {
    let list = T::list_mut(view.schedule_mut()?);
    // Both are set right below.
    list.pages.insert(at, Page { number: list.next, first: entries[0], len: 0 });
    list.next += 1;
    put_page(view, at, entries)
}

/// Writes the page at position `at`, which is not empty.
fn put_page<T: Entry>(view: &mut View, at: usize, entries: &[T]) -> Result<(), Halt> {
    let page = &mut T::list_mut(view.schedule_mut()?).pages[at];
    page.first = entries[0];
    page.len = entries.len() as u32;
    let key = key::page(T::LIST, page.number);
    view.put(key, &entries.to_vec());
    Ok(())
}

fn drop_page<T: Entry>(view: &mut View, at: usize) -> Result<(), Halt> {
    let page = T::list_mut(view.schedule_mut()?).pages.remove(at);
    view.remove(key::page(T::LIST, page.number));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{NetworkId, TaskId};

    use super::*;
    use crate::{Executed, MemoryState, Reads};

    /// One block that changes a list.
    fn block(state: &mut MemoryState, change: impl FnOnce(&mut View)) -> usize {
        let mut view = View::new(state, NetworkId([0; 32]), 1, 1);
        change(&mut view);
        view.keep();
        let (writes, _) = view.finish();
        let bytes = writes.iter().map(|(_, value)| value.as_ref().map_or(0, Vec::len)).sum();
        state.apply(&Executed { writes, ..Executed::default() });
        bytes
    }

    fn deadline(number: u64) -> Deadline {
        let mut task = [0; 32];
        task[..8].copy_from_slice(&number.to_be_bytes());
        Deadline { at_ms: number / 3, task: TaskId(task) }
    }

    fn all(state: &MemoryState) -> (Vec<Deadline>, Schedule) {
        let mut view = View::new(state, NetworkId([0; 32]), 1, 1);
        let found = collect(&mut view, None, usize::MAX, |_: &Deadline| true).unwrap();
        (found, view.schedule().unwrap().clone())
    }

    #[test]
    fn a_list_in_pages_is_the_set_that_it_should_be() {
        let (mut state, mut set, mut dice) = (MemoryState::default(), BTreeSet::new(), 7u64);
        for round in 0..3_000u64 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let entry = deadline((dice >> 33) % 700);
            // More come than go, then the other way round.
            let come = (dice >> 20) % 10 < if round < 1_500 { 7 } else { 2 };
            block(&mut state, |view| {
                if come && set.insert(entry) {
                    insert(view, entry).unwrap();
                } else if !come {
                    assert_eq!(remove(view, entry).unwrap(), set.remove(&entry));
                }
            });
            if round % 50 == 0 {
                let (found, schedule) = all(&state);
                assert!(found.iter().eq(&set));
                let list = &schedule.deadlines;
                assert_eq!((list.len(), list.first()), (set.len(), set.first().copied()));
                assert!(list.pages.len() <= 2 * set.len() / JOINED_MAX + 2, "{} pages", list.pages.len());
            }
        }
        for entry in set {
            block(&mut state, |view| assert!(remove(view, entry).unwrap()));
        }
        assert!(all(&state).1.deadlines.is_empty());
        assert_eq!(state.size().0, 1, "no page is left behind");
    }

    #[test]
    fn a_change_costs_a_page_however_long_the_list_is() {
        let mut state = MemoryState::default();
        for number in 0..1_000 {
            block(&mut state, |view| insert(view, deadline(number)).unwrap());
        }
        let all = state.read(&key::schedule()).flatten().unwrap().len() + 1_000 * 60;
        for number in [0, 400, 999] {
            let bytes = block(&mut state, |view| assert!(remove(view, deadline(number)).unwrap()));
            assert!(bytes < all / 8, "{bytes} of {all} bytes are written");
        }
    }

    #[test]
    fn entries_are_collected_from_where_one_stopped() {
        let mut state = MemoryState::default();
        block(&mut state, |view| (0..200).for_each(|number| insert(view, deadline(number)).unwrap()));
        let mut view = View::new(&state, NetworkId([0; 32]), 1, 1);
        let mut found = Vec::new();
        while let Ok(next) = collect(&mut view, found.last().copied(), 7, |entry: &Deadline| entry.at_ms < 50) {
            if next.is_empty() {
                break;
            }
            found.extend(next);
        }
        assert!(found.into_iter().eq((0..150).map(deadline)));
    }
}
