//! The guest's file system: `/data` with the inputs, which nobody can change, and `/out`, whose size is bounded.
//!
//! There are no links, no owners and no times; lists are sorted and inode numbers follow from what the guest did, so
//! that two runs of one job see the same. A path never leaves the directory that it starts from. Content of inputs is
//! not here: a node only says which input it stands for.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::job::Input;

/// Most files and directories under `/out`, deleted ones that are still open included.
pub(crate) const NODES_MAX: usize = 4096;
/// Longest path that a guest may say, longest path of a file under `/out`, and longest part of either.
const PATH_BYTES_MAX: usize = 4096;
const OUTPUT_PATH_BYTES_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 255;

/// Why a request is refused. The names are those of POSIX, because guests expect them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    BadDescriptor,
    Exists,
    FileTooLarge,
    Invalid,
    IsDirectory,
    NameTooLong,
    NoEntry,
    NotDirectory,
    NotEmpty,
    NotPermitted,
    NotSupported,
    NotWritable,
    ReadOnly,
    Seek,
    TooManyOpen,
    /// The output limit of the job: the run ends, the guest does not learn of it.
    OverLimit,
}

/// Names a node as long as it is linked or open.
pub(crate) type Inode = usize;

/// The directories that a guest finds open: name and inode.
pub(crate) const PREOPENED: [(&str, Inode); 2] = [("/data", DATA), ("/out", OUT)];
const DATA: Inode = 0;
const OUT: Inode = 1;

/// All files and directories.
pub(crate) struct FileSystem {
    nodes: Vec<Option<Node>>,
    /// Bytes of files under `/out` and of their names, and of what else counts as output.
    used_bytes: u64,
    used_bytes_max: u64,
}

struct Node {
    what: What,
    /// Has a name.
    linked: bool,
    /// Descriptors and streams on it.
    open: u32,
}

enum What {
    Directory { entries: BTreeMap<String, Inode>, writable: bool },
    Input { input: usize, bytes: u64 },
    File(Vec<u8>),
}

/// What a guest may ask about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) directory: bool,
    pub(crate) inode: u64,
    pub(crate) bytes: u64,
}

/// How a path is to be opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenMode {
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) directory: bool,
    pub(crate) write: bool,
}

/// Where the bytes of an open file are.
pub(crate) enum Content<'a> {
    Memory(&'a [u8]),
    Input(usize),
}

/// A path, followed up to its last part.
struct Place<'p> {
    directory: Inode,
    /// `None` if the path is the directory itself.
    name: Option<&'p str>,
}

impl FileSystem {
    pub(crate) fn new(inputs: &[Input], output_bytes_max: u64) -> Self {
        let mut files = Self { nodes: Vec::new(), used_bytes: 0, used_bytes_max: output_bytes_max };
        let first = OUT + 1;
        let entries = inputs.iter().enumerate().map(|(i, input)| (input.name.clone(), first + i)).collect();
        files.insert(What::Directory { entries, writable: false });
        files.insert(What::Directory { entries: BTreeMap::new(), writable: true });
        for (input, Input { bytes, .. }) in inputs.iter().enumerate() {
            files.insert(What::Input { input, bytes: *bytes });
        }
        files
    }

    /// Opens what `path`, seen from `base`, names; to be closed again with [`Self::close`].
    pub(crate) fn open(&mut self, base: Inode, path: &str, mode: OpenMode) -> Result<Inode, Errno> {
        let place = self.follow(base, path)?;
        let inode = match self.at(&place) {
            Ok(_) if mode.create && mode.exclusive => return Err(Errno::Exists),
            Ok(inode) => self.open_existing(inode, mode)?,
            Err(Errno::NoEntry) if mode.create && !mode.directory => self.create(&place, What::File(Vec::new()))?,
            Err(errno) => return Err(errno),
        };
        self.retain(inode);
        Ok(inode)
    }

    fn open_existing(&mut self, inode: Inode, mode: OpenMode) -> Result<Inode, Errno> {
        match &self.node(inode).what {
            What::Directory { .. } if mode.write || mode.truncate => return Err(Errno::IsDirectory),
            What::Directory { .. } => {}
            _ if mode.directory => return Err(Errno::NotDirectory),
            What::Input { .. } if mode.write || mode.truncate => return Err(Errno::ReadOnly),
            What::Input { .. } => {}
            What::File(_) if mode.truncate => self.set_length(inode, 0)?,
            What::File(_) => {}
        }
        Ok(inode)
    }

    /// One more descriptor is on the node.
    pub(crate) fn retain(&mut self, inode: Inode) {
        self.node_mut(inode).open += 1;
    }

    /// One descriptor less; a node without a name goes with its last.
    pub(crate) fn close(&mut self, inode: Inode) {
        let node = self.node_mut(inode);
        node.open = node.open.saturating_sub(1);
        self.forget_if_unused(inode);
    }

    /// What `path` names.
    pub(crate) fn find(&self, base: Inode, path: &str) -> Result<Inode, Errno> {
        self.at(&self.follow(base, path)?)
    }

    pub(crate) fn status(&self, inode: Inode) -> Status {
        let (directory, bytes) = match &self.node(inode).what {
            What::Directory { .. } => (true, 0),
            What::Input { bytes, .. } => (false, *bytes),
            What::File(content) => (false, content.len() as u64),
        };
        Status { directory, inode: inode as u64 + 1, bytes }
    }

    /// Whether anything can be changed in or under the node.
    pub(crate) fn is_writable(&self, inode: Inode) -> bool {
        match &self.node(inode).what {
            What::Directory { writable, .. } => *writable,
            What::Input { .. } => false,
            What::File(_) => true,
        }
    }

    pub(crate) fn content(&self, inode: Inode) -> Result<Content<'_>, Errno> {
        match &self.node(inode).what {
            What::Directory { .. } => Err(Errno::IsDirectory),
            What::Input { input, .. } => Ok(Content::Input(*input)),
            What::File(content) => Ok(Content::Memory(content)),
        }
    }

    pub(crate) fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::FileTooLarge)?;
        if bytes.is_empty() {
            return self.file_mut(inode).map(drop);
        }
        if end > self.file_mut(inode)?.len() as u64 {
            self.set_length(inode, end)?;
        }
        // Both ends are within the file, whose length is a usize.
        self.file_mut(inode)?[offset as usize..end as usize].copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn set_length(&mut self, inode: Inode, bytes: u64) -> Result<(), Errno> {
        let before = self.file_mut(inode)?.len() as u64;
        self.charge(bytes.saturating_sub(before))?;
        let length = usize::try_from(bytes).map_err(|_| Errno::FileTooLarge)?;
        let file = self.file_mut(inode)?;
        file.resize(length, 0);
        if bytes < before {
            // What is given back must be gone, or a guest fills the memory with files that it has emptied.
            file.shrink_to_fit();
        }
        self.give_back(before.saturating_sub(bytes));
        Ok(())
    }

    pub(crate) fn create_directory(&mut self, base: Inode, path: &str) -> Result<(), Errno> {
        let place = self.follow(base, path)?;
        match self.at(&place) {
            Ok(_) => Err(Errno::Exists),
            Err(Errno::NoEntry) => {
                self.create(&place, What::Directory { entries: BTreeMap::new(), writable: true }).map(drop)
            }
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn remove_file(&mut self, base: Inode, path: &str) -> Result<(), Errno> {
        let place = self.follow(base, path)?;
        match self.node(self.at(&place)?).what {
            What::Directory { .. } => Err(Errno::IsDirectory),
            _ => self.unlink(&place),
        }
    }

    pub(crate) fn remove_directory(&mut self, base: Inode, path: &str) -> Result<(), Errno> {
        let place = self.follow(base, path)?;
        match &self.node(self.at(&place)?).what {
            What::Directory { entries, .. } if entries.is_empty() => self.unlink(&place),
            What::Directory { .. } => Err(Errno::NotEmpty),
            _ => Err(Errno::NotDirectory),
        }
    }

    /// Gives a file or directory another name; what had that name before is gone.
    pub(crate) fn rename(&mut self, from: (Inode, &str), to: (Inode, &str)) -> Result<(), Errno> {
        let (from, to) = (self.follow(from.0, from.1)?, self.follow(to.0, to.1)?);
        let moved = self.at(&from)?;
        let (old_name, new_name) = (from.name.ok_or(Errno::Invalid)?, to.name.ok_or(Errno::Invalid)?);
        self.writable_entries(from.directory)?;
        self.writable_entries(to.directory)?;
        if !self.node(to.directory).linked {
            return Err(Errno::NoEntry);
        }
        match self.at(&to) {
            Ok(same) if same == moved => return Ok(()),
            Ok(replaced) => self.check_replace(moved, replaced)?,
            Err(Errno::NoEntry) => check_name(new_name)?,
            Err(errno) => return Err(errno),
        }
        if self.contains(moved, to.directory) {
            return Err(Errno::Invalid);
        }
        self.charge(new_name.len() as u64)?;
        if self.at(&to).is_ok() {
            self.unlink(&to)?;
        }
        self.writable_entries(from.directory)?.remove(old_name);
        self.give_back(old_name.len() as u64);
        self.writable_entries(to.directory)?.insert(new_name.into(), moved);
        Ok(())
    }

    fn check_replace(&self, moved: Inode, replaced: Inode) -> Result<(), Errno> {
        match (&self.node(moved).what, &self.node(replaced).what) {
            (What::Directory { .. }, What::Directory { entries, .. }) if entries.is_empty() => Ok(()),
            (What::Directory { .. }, What::Directory { .. }) => Err(Errno::NotEmpty),
            (What::Directory { .. }, _) => Err(Errno::NotDirectory),
            (_, What::Directory { .. }) => Err(Errno::IsDirectory),
            _ => Ok(()),
        }
    }

    /// Whether `inner` is `outer` or lies under it.
    fn contains(&self, outer: Inode, inner: Inode) -> bool {
        outer == inner
            || match &self.node(outer).what {
                What::Directory { entries, .. } => entries.values().any(|entry| self.contains(*entry, inner)),
                _ => false,
            }
    }

    /// Names and inodes in a directory, sorted.
    pub(crate) fn list(&self, directory: Inode) -> Result<impl Iterator<Item = (&str, Inode)>, Errno> {
        Ok(self.entries(directory)?.iter().map(|(name, inode)| (name.as_str(), *inode)))
    }

    /// The first name in a directory after `last`, or the first of all.
    pub(crate) fn next_entry(&self, directory: Inode, last: Option<&str>) -> Result<Option<(&str, Inode)>, Errno> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut following = self.entries(directory)?.range::<str, _>((start, Bound::Unbounded));
        Ok(following.next().map(|(name, inode)| (name.as_str(), *inode)))
    }

    /// Counts bytes that leave by another way than a file.
    ///
    /// # Errors
    /// [`Errno::OverLimit`].
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), Errno> {
        let used = self.used_bytes.checked_add(bytes).filter(|used| *used <= self.used_bytes_max);
        self.used_bytes = used.ok_or(Errno::OverLimit)?;
        Ok(())
    }

    fn give_back(&mut self, bytes: u64) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
    }

    /// Every file under `/out` with its path relative to it, ascending.
    ///
    /// # Errors
    /// [`Errno::OverLimit`] if directories are nested so deep that a path would be longer than a path may be, or all paths
    /// together longer than what is left to write.
    pub(crate) fn into_output(mut self) -> Result<Vec<(String, Vec<u8>)>, Errno> {
        let mut files = Vec::new();
        self.collect(OUT, "", &mut files)?;
        files.sort();
        Ok(files)
    }

    fn collect(&mut self, directory: Inode, prefix: &str, into: &mut Vec<(String, Vec<u8>)>) -> Result<(), Errno> {
        let What::Directory { entries, .. } = &mut self.node_mut(directory).what else { return Ok(()) };
        for (name, inode) in std::mem::take(entries) {
            let path = format!("{prefix}{name}");
            if path.len() > OUTPUT_PATH_BYTES_MAX {
                return Err(Errno::OverLimit);
            }
            match &mut self.node_mut(inode).what {
                What::File(content) => {
                    into.push((path, std::mem::take(content)));
                    // Its own name was counted when it was made; the whole path leaves.
                    self.charge(prefix.len() as u64)?;
                }
                What::Directory { .. } => self.collect(inode, &format!("{path}/"), into)?,
                What::Input { .. } => {}
            }
        }
        Ok(())
    }

    // --- paths --------------------------------------------------------------------------------------------------------

    fn follow<'p>(&self, base: Inode, path: &'p str) -> Result<Place<'p>, Errno> {
        if path.len() > PATH_BYTES_MAX {
            return Err(Errno::NameTooLong);
        }
        if path.starts_with('/') {
            return Err(Errno::NotPermitted);
        }
        if path.is_empty() {
            return Err(Errno::NoEntry);
        }
        let mut above = Vec::new();
        let mut directory = base;
        let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
        while let Some(part) = parts.next() {
            if part == ".." {
                directory = above.pop().ok_or(Errno::NotPermitted)?;
            } else if parts.peek().is_none() {
                return Ok(Place { directory, name: Some(part) });
            } else {
                let next = *self.entries(directory)?.get(part).ok_or(Errno::NoEntry)?;
                self.entries(next)?;
                above.push(directory);
                directory = next;
            }
        }
        Ok(Place { directory, name: None })
    }

    fn at(&self, place: &Place<'_>) -> Result<Inode, Errno> {
        match place.name {
            None => Ok(place.directory),
            Some(name) => self.entries(place.directory)?.get(name).copied().ok_or(Errno::NoEntry),
        }
    }

    fn create(&mut self, place: &Place<'_>, what: What) -> Result<Inode, Errno> {
        let name = place.name.ok_or(Errno::Exists)?;
        check_name(name)?;
        if !self.node(place.directory).linked {
            return Err(Errno::NoEntry);
        }
        self.writable_entries(place.directory)?;
        if self.nodes.iter().flatten().count() >= NODES_MAX + PREOPENED.len() {
            return Err(Errno::OverLimit);
        }
        self.charge(name.len() as u64)?;
        let inode = self.insert(what);
        self.writable_entries(place.directory)?.insert(name.into(), inode);
        Ok(inode)
    }

    fn unlink(&mut self, place: &Place<'_>) -> Result<(), Errno> {
        let name = place.name.ok_or(Errno::NotPermitted)?;
        let inode = self.writable_entries(place.directory)?.remove(name).ok_or(Errno::NoEntry)?;
        self.give_back(name.len() as u64);
        self.node_mut(inode).linked = false;
        self.forget_if_unused(inode);
        Ok(())
    }

    // --- nodes --------------------------------------------------------------------------------------------------------

    fn insert(&mut self, what: What) -> Inode {
        let node = Some(Node { what, linked: true, open: 0 });
        match self.nodes.iter().position(Option::is_none) {
            Some(free) => {
                self.nodes[free] = node;
                free
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    fn forget_if_unused(&mut self, inode: Inode) {
        let node = self.node(inode);
        if node.linked || node.open > 0 {
            return;
        }
        if let What::File(content) = &node.what {
            let bytes = content.len() as u64;
            self.give_back(bytes);
        }
        self.nodes[inode] = None;
    }

    fn node(&self, inode: Inode) -> &Node {
        self.nodes[inode].as_ref().expect("whoever has an inode has opened it or reads it from a directory")
    }

    fn node_mut(&mut self, inode: Inode) -> &mut Node {
        self.nodes[inode].as_mut().expect("whoever has an inode has opened it or reads it from a directory")
    }

    fn entries(&self, directory: Inode) -> Result<&BTreeMap<String, Inode>, Errno> {
        match &self.node(directory).what {
            What::Directory { entries, .. } => Ok(entries),
            _ => Err(Errno::NotDirectory),
        }
    }

    fn writable_entries(&mut self, directory: Inode) -> Result<&mut BTreeMap<String, Inode>, Errno> {
        match &mut self.node_mut(directory).what {
            What::Directory { entries, writable: true } => Ok(entries),
            What::Directory { .. } => Err(Errno::ReadOnly),
            _ => Err(Errno::NotDirectory),
        }
    }

    fn file_mut(&mut self, inode: Inode) -> Result<&mut Vec<u8>, Errno> {
        match &mut self.node_mut(inode).what {
            What::Directory { .. } => Err(Errno::IsDirectory),
            What::Input { .. } => Err(Errno::ReadOnly),
            What::File(content) => Ok(content),
        }
    }
}

fn check_name(name: &str) -> Result<(), Errno> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Errno::NameTooLong);
    }
    if is_plain(name) { Ok(()) } else { Err(Errno::Invalid) }
}

/// Whether this may be the path of a file that a run leaves, relative to `/out`: names that stay where they are put, whoever
/// unpacks them and prints them. `custody` asks the same of every archive.
pub fn is_output_path(path: &str) -> bool {
    path.len() <= OUTPUT_PATH_BYTES_MAX && path.split('/').all(is_plain)
}

fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.chars().any(|c| c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: OpenMode = OpenMode { create: true, exclusive: false, truncate: false, directory: false, write: true };

    fn files(limit: u64) -> FileSystem {
        let input = |name: &str| Input { name: name.into(), bytes: 10, chunk_bytes: 4 };
        FileSystem::new(&[input("b.csv"), input("a.csv")], limit)
    }

    fn write(files: &mut FileSystem, path: &str, bytes: &[u8]) -> Result<(), Errno> {
        let inode = files.open(OUT, path, WRITE)?;
        let written = files.write(inode, 0, bytes);
        files.close(inode);
        written
    }

    #[test]
    fn no_path_leaves_its_directory() {
        let mut files = files(100);
        files.create_directory(OUT, "d").expect("there is room");
        for path in ["..", "../data/a.csv", "d/../../data", "d/../..", "/etc/passwd", "../../etc/passwd"] {
            assert_eq!(files.find(OUT, path), Err(Errno::NotPermitted), "{path}");
        }
        assert_eq!(files.find(OUT, "d/.."), Ok(OUT));
        assert_eq!(files.find(OUT, "d/./../d//").map(|inode| files.status(inode).directory), Ok(true));
        assert_eq!(files.find(DATA, "a.csv/x"), Err(Errno::NotDirectory));
    }

    #[test]
    fn names_that_a_result_cannot_have_are_refused_when_they_are_made() {
        let mut files = files(u64::MAX);
        write(&mut files, "x", b"x").expect("there is room");
        for name in ["a\\b", "a\nb", "a\0b", "\x1b[2J", "a\u{85}b"] {
            assert_eq!(write(&mut files, name, b"x"), Err(Errno::Invalid), "{name:?}");
            assert_eq!(files.create_directory(OUT, name), Err(Errno::Invalid), "{name:?}");
            assert_eq!(files.rename((OUT, "x"), (OUT, name)), Err(Errno::Invalid), "{name:?}");
        }
        assert_eq!(write(&mut files, &"n".repeat(256), b"x"), Err(Errno::NameTooLong));
        write(&mut files, "Größe 1 (%).csv", b"x").expect("a plain name");
        assert!(files.into_output().expect("it fits").iter().all(|(path, _)| is_output_path(path)));
    }

    #[test]
    fn bytes_that_are_cut_off_leave_the_memory_as_well_as_the_count() {
        let mut files = files(2 << 20);
        for number in 0..1000 {
            let inode = files.open(OUT, &number.to_string(), WRITE).expect("there is room for a name");
            files.set_length(inode, 1 << 20).expect("there is room for one at a time");
            files.set_length(inode, 1).expect("less is always possible");
            files.close(inode);
        }
        let held = |node: &Option<Node>| match node {
            Some(Node { what: What::File(bytes), .. }) => bytes.capacity(),
            _ => 0,
        };
        let held: usize = files.nodes.iter().map(held).sum();
        assert!(held < 64 << 10, "{held} bytes are held and not counted");
    }

    #[test]
    fn data_cannot_be_changed() {
        let mut files = files(100);
        assert_eq!(files.open(DATA, "new", WRITE), Err(Errno::ReadOnly));
        assert_eq!(files.open(DATA, "a.csv", WRITE), Err(Errno::ReadOnly));
        assert_eq!(files.open(DATA, "a.csv", OpenMode { truncate: true, ..OpenMode::default() }), Err(Errno::ReadOnly));
        assert_eq!(files.create_directory(DATA, "d"), Err(Errno::ReadOnly));
        assert_eq!(files.remove_file(DATA, "a.csv"), Err(Errno::ReadOnly));
        assert_eq!(files.rename((DATA, "a.csv"), (OUT, "a.csv")), Err(Errno::ReadOnly));
        write(&mut files, "x", b"x").expect("there is room");
        assert_eq!(files.rename((OUT, "x"), (DATA, "a.csv")), Err(Errno::ReadOnly));
        let inode = files.open(DATA, "a.csv", OpenMode::default()).expect("it exists");
        assert_eq!(files.write(inode, 0, b"x"), Err(Errno::ReadOnly));
        assert_eq!(files.set_length(inode, 0), Err(Errno::ReadOnly));
    }

    #[test]
    fn every_way_to_grow_is_counted_and_everything_comes_back() {
        let mut files = files(10);
        write(&mut files, "a", &[0; 9]).expect("ten bytes, with the name");
        assert_eq!(write(&mut files, "b", &[]), Err(Errno::OverLimit));
        assert_eq!(files.rename((OUT, "a"), (OUT, "ab")), Err(Errno::OverLimit));
        files.rename((OUT, "a"), (OUT, "a")).expect("nothing changes");
        let inode = files.open(OUT, "a", WRITE).expect("it exists");
        assert_eq!(files.set_length(inode, 10), Err(Errno::OverLimit));
        assert_eq!(files.write(inode, u64::MAX, b"x"), Err(Errno::FileTooLarge));
        assert_eq!(files.write(inode, u64::MAX - 1, b"x"), Err(Errno::OverLimit));
        files.remove_file(OUT, "a").expect("it exists");
        assert_eq!(files.charge(2), Err(Errno::OverLimit), "still open");
        files.close(inode);
        files.charge(10).expect("all is free again");
    }

    #[test]
    fn a_deleted_file_stays_readable_while_it_is_open() {
        let mut files = files(100);
        write(&mut files, "a", b"kept").expect("there is room");
        let inode = files.open(OUT, "a", OpenMode::default()).expect("it exists");
        files.remove_file(OUT, "a").expect("it exists");
        write(&mut files, "a", b"new").expect("there is room");
        assert!(matches!(files.content(inode), Ok(Content::Memory(b"kept"))));
        assert_eq!(files.into_output(), Ok(vec![("a".to_owned(), b"new".to_vec())]));
    }

    #[test]
    fn renaming_replaces_files_and_never_makes_a_loop() {
        let mut files = files(100);
        write(&mut files, "a", b"1").expect("there is room");
        write(&mut files, "b", b"2").expect("there is room");
        files.rename((OUT, "a"), (OUT, "b")).expect("a file replaces a file");
        files.create_directory(OUT, "d").expect("there is room");
        files.create_directory(OUT, "d/e").expect("there is room");
        assert_eq!(files.rename((OUT, "d"), (OUT, "d/e/f")), Err(Errno::Invalid));
        assert_eq!(files.rename((OUT, "d"), (OUT, "b")), Err(Errno::NotDirectory));
        assert_eq!(files.rename((OUT, "b"), (OUT, "d")), Err(Errno::IsDirectory));
        assert_eq!(files.remove_directory(OUT, "d"), Err(Errno::NotEmpty));
        files.rename((OUT, "b"), (OUT, "d/e/f")).expect("a file moves");
        assert_eq!(files.into_output(), Ok(vec![("d/e/f".to_owned(), b"1".to_vec())]));
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let mut files = files(u64::MAX);
        let made = (0..).take_while(|i| write(&mut files, &format!("{i}"), b"").is_ok()).count();
        assert!(made <= NODES_MAX, "{made}");
        assert_eq!(write(&mut files, "one more", b""), Err(Errno::OverLimit));
    }

    #[test]
    fn of_a_file_in_directories_the_whole_path_is_counted() {
        let with = |limit| {
            let mut files = files(limit);
            files.create_directory(OUT, "dir").expect("there is room");
            write(&mut files, "dir/a", b"1").and_then(|()| write(&mut files, "dir/b", b"2")).expect("there is room");
            files.into_output()
        };
        // The directory's name, twice a name and a byte, twice "dir/".
        assert_eq!(with(14), Err(Errno::OverLimit));
        assert_eq!(with(15).map(|files| files.len()), Ok(2));
    }

    #[test]
    fn directories_nested_without_end_do_not_become_endless_paths() {
        let mut files = files(u64::MAX);
        let mut base = OUT;
        let name = "n".repeat(200);
        for _ in 0..100 {
            files.create_directory(base, &name).expect("there is room");
            base = files.open(base, &name, OpenMode { directory: true, ..OpenMode::default() }).expect("it exists");
        }
        assert_eq!(files.into_output(), Err(Errno::OverLimit));
    }

    #[test]
    fn a_directory_that_was_deleted_takes_no_more_files() {
        let mut files = files(100);
        files.create_directory(OUT, "d").expect("there is room");
        let inode = files.open(OUT, "d", OpenMode { directory: true, ..OpenMode::default() }).expect("it exists");
        files.remove_directory(OUT, "d").expect("it is empty");
        assert_eq!(files.open(inode, "x", WRITE), Err(Errno::NoEntry));
        assert_eq!(files.remove_directory(OUT, "."), Err(Errno::NotPermitted));
    }
}
