//! A cluster's API server, with what the agent keeps in it and the objects it owns.

use super::{
    executor::Group,
    world::{World, time_of_day},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    cell::{Ref, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use vworkspace_core::{
    agent::{credentials::Held, shards::Number},
    planted::{Bug, planted},
};
use vworkspace_protocol::{Condition, JobId, ObjectRef, Secret};

/// Where the applications are.
pub const NAMESPACE: &str = "apps";
/// What they are.
pub const KIND: &str = "ApplicationInstance";
/// The one that shows, in the end, that a cluster does what it is asked for.
pub const PROBE: &str = "probe";
/// Their group and version.
pub const API_VERSION: &str = "apps.vworkspace.io/v1alpha1";

/// Why a call did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// 409 without the owner of a field: another write was first. It did nothing.
    Race,
    /// 410: what it is about is there no more. It did nothing.
    Gone,
    /// 429. It did nothing.
    TooMany,
    /// 500. It did nothing.
    Internal,
    /// No answer came. What it did is unknown.
    Lost,
    /// The caller's lease has run out: the call was not made.
    Fenced,
}

/// A call that comes late comes within this: long before another process leads, that was sent by one that led.
const LATEST: Duration = Duration::from_secs(2);

/// The refusals, as they are counted.
const REFUSALS: [(&str, ApiError); 4] = [
    ("API call refused: 409", ApiError::Race),
    ("API call refused: 410", ApiError::Gone),
    ("API call refused: 429", ApiError::TooMany),
    ("API call refused: 500", ApiError::Internal),
];

/// One cluster.
pub struct Api {
    pub(super) world: World,
    name: String,
    /// The controllers: they never die.
    pub(super) group: Group,
    state: RefCell<State>,
    /// Until when processes that led may make calls.
    fences: RefCell<BTreeMap<Group, Duration>>,
    version: watch::Sender<u64>,
}

/// What the cluster holds.
#[derive(Default)]
pub struct State {
    /// The cluster's name, for the uids of its objects.
    name: String,
    /// Open jobs.
    pub journal: BTreeMap<JobId, String>,
    /// Open jobs were lost once: they are done again, in any order, for nothing says any more what was done of them.
    pub lost_journal: bool,
    /// Shards of the ledger.
    pub ledger: BTreeMap<Number, String>,
    /// Shards of what was told about conditions.
    pub told: BTreeMap<Number, String>,
    /// The leader-election lease.
    pub lease: Lease,
    /// The credentials Secret.
    pub credential: Option<Held>,
    /// Credentials that the Secret held before.
    pub former: Vec<Secret>,
    /// Credentials that were the current one, and were replaced.
    pub replaced: Vec<Secret>,
    /// How often another credential became the current one.
    pub promoted: u64,
    /// For which jobs it was rotated, in order.
    pub rotated_for: Vec<JobId>,
    /// Under which id the registration token is exchanged.
    pub registration_id: Option<String>,
    /// Generation in which a rotation is asked for.
    pub wish: Option<i64>,
    /// Generation of the Cluster object.
    pub generation: i64,
    /// When the Cluster object was deleted.
    pub deleted_at: Option<Timestamp>,
    /// How it went, since it is gone.
    pub left: Option<Left>,
    /// The applications, by name.
    pub objects: BTreeMap<String, Object>,
    /// Every change that had an effect, in order.
    pub changes: Vec<Change>,
    /// Changes with which an object became ready, each once or more often.
    pub reached: BTreeSet<(String, u64)>,
    /// Changes with which their object never becomes ready.
    pub hopeless: BTreeSet<u64>,
    /// Changes that another took the place of before they became ready, and which: they cannot succeed any more.
    pub overtaken: BTreeMap<u64, u64>,
    /// Whose fields others took over, and how many changes there were before.
    pub takeovers: Vec<(String, usize)>,
    next_uid: u64,
    /// Rises with every write to an application.
    pub versions: u64,
}

/// Who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The number of the process.
    pub holder: Option<u64>,
    /// Rises whenever it is taken or renewed.
    pub renewals: u64,
}

/// How a Cluster object went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The control plane knows.
    Told,
    /// The control plane could not be told.
    Untold,
}

/// An application.
#[derive(Clone, Debug)]
pub struct Object {
    /// Another one after a deletion.
    pub uid: String,
    /// Rises with each change.
    pub generation: i64,
    /// Another one after every write, also of conditions.
    version: u64,
    /// The job whose content it has.
    pub value: u64,
    /// Somebody else owns a field.
    pub foreign: bool,
    /// It was ready since its last change.
    pub was_ready: bool,
    /// It is going away.
    pub deleting: bool,
    /// How often Flux has begun to look at it at intervals: only the last one to begin goes on.
    pub looks: u64,
    /// As the controller wrote them.
    pub conditions: Vec<Condition>,
    /// The job that was applied last.
    pub request: Option<JobId>,
    /// As the controller wrote it: the request it has answered.
    pub handled_request: Option<JobId>,
}

/// A change that had an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which object.
    pub object: String,
    /// Number of the job that brought it about.
    pub by: u64,
}

/// What became of an apply.
pub enum Put {
    /// It was taken.
    Taken(ObjectRef),
    /// Somebody else owns a field.
    Conflict,
    /// It is being deleted, and was changed before it goes: to be applied again once it is gone.
    Deleting,
    /// It is not what was found.
    Race,
}

/// What became of a deletion.
pub enum Deletion {
    /// There was nothing.
    Gone(ObjectRef),
    /// It goes.
    Pending(ObjectRef),
    /// It is another life than the one that was found.
    Race,
}

impl Api {
    /// An empty cluster.
    pub fn new(world: &World, name: &str) -> Rc<Self> {
        Rc::new(Self {
            world: world.clone(),
            name: name.to_owned(),
            group: world.executor.group(),
            state: RefCell::new(State { name: name.to_owned(), ..State::default() }),
            fences: RefCell::default(),
            version: watch::Sender::new(0),
        })
    }

    /// What the cluster holds now.
    pub fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// Told at every change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Somebody deletes the Cluster object.
    pub fn delete_cluster(&self) {
        let now = self.now();
        self.edit(|state| state.deleted_at = Some(now));
    }

    /// Changes something by hand, without a call.
    pub fn edit(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.state_mut());
        self.version.send_modify(|version| *version += 1);
    }

    /// The process that is running leads until then, unless told otherwise: it makes no calls any more afterwards, as
    /// the operator's client (`crates/operator/src/fence.rs`).
    pub fn fence(&self, until: Duration) {
        self.fences.borrow_mut().insert(self.world.executor.running(), until);
    }

    /// A call: it takes time, may be refused, and its answer may be lost after the effect. Once it is sent it goes on
    /// while its process stands still.
    ///
    /// # Errors
    /// Refused, lost, or not made.
    pub async fn call<T: 'static>(
        self: &Rc<Self>,
        effect: impl FnOnce(&mut State) -> T + 'static,
    ) -> Result<T, ApiError> {
        self.pass_fence()?;
        self.call_unfenced(effect).await
    }

    /// A call that says of what it is true: it changes nothing where that is not so any more, and so may also come late.
    /// Those that say nothing, as those to the journal and what makes an object, are taken to be over when they are given
    /// up: what they would do later nobody could tell from what is done then.
    ///
    /// # Errors
    /// Refused, lost, or not made.
    pub async fn call_on_condition<T: 'static>(
        self: &Rc<Self>,
        effect: impl FnOnce(&mut State) -> T + 'static,
    ) -> Result<T, ApiError> {
        if !self.world.strikes("API call comes late", self.world.weather.api_late) {
            return self.call(effect).await;
        }
        self.pass_fence()?;
        self.come_late(effect).await
    }

    fn pass_fence(&self) -> Result<(), ApiError> {
        let (executor, now) = (&self.world.executor, self.world.executor.now());
        let is_over = self.fences.borrow().get(&executor.running()).is_some_and(|until| now >= *until);
        if is_over { Err(ApiError::Fenced) } else { Ok(()) }
    }

    /// The line to the API server breaks when the call is on its way: its caller knows nothing of it any more.
    async fn come_late<T: 'static>(
        self: &Rc<Self>,
        effect: impl FnOnce(&mut State) -> T + 'static,
    ) -> Result<T, ApiError> {
        let this = self.clone();
        self.world.executor.spawn(self.group, async move {
            this.world.sleep_between(Duration::ZERO, LATEST).await;
            drop(effect(&mut this.state_mut()));
            this.version.send_modify(|version| *version += 1);
        });
        self.world.sleep_between(Duration::from_micros(100), self.world.weather.api_way).await;
        Err(ApiError::Lost)
    }

    /// A call that is made whoever leads: those about the lease. It does not come late: what it writes is for what was
    /// read.
    ///
    /// # Errors
    /// Refused or lost.
    pub async fn call_unfenced<T: 'static>(
        self: &Rc<Self>,
        effect: impl FnOnce(&mut State) -> T + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        let this = self.clone();
        self.world.executor.send(async move {
            // Who gave up waiting learns nothing.
            let _gone = answer.send(this.serve(effect).await);
        });
        answered.await.unwrap_or(Err(ApiError::Lost))
    }

    async fn serve<T>(&self, effect: impl FnOnce(&mut State) -> T) -> Result<T, ApiError> {
        let weather = &self.world.weather;
        let most = if weather.is_healed() { Duration::from_millis(5) } else { weather.api_way };
        self.world.sleep_between(Duration::from_micros(100), most).await;
        let struck = self.world.dice.pick(&REFUSALS);
        let struck = struck.filter(|(fault, _)| self.world.strikes(fault, weather.api_refuse));
        if let Some((_, error)) = struck {
            return Err(*error);
        }
        let done = effect(&mut self.state_mut());
        self.version.send_modify(|version| *version += 1);
        self.world.sleep_between(Duration::from_micros(100), most / 2).await;
        if self.world.strikes("API answer lost", weather.api_lose) { Err(ApiError::Lost) } else { Ok(done) }
    }

    /// The application as it is now.
    ///
    /// # Errors
    /// Refused or lost.
    pub async fn find(self: &Rc<Self>, name: &str) -> Result<Option<Object>, ApiError> {
        let name = name.to_owned();
        self.call(move |state| state.objects.get(&name).cloned()).await
    }

    /// Server-side apply of an application with the content of job `by`, of nothing but what was found.
    ///
    /// # Errors
    /// Refused or lost.
    pub async fn apply(
        self: &Rc<Self>,
        name: &str,
        by: u64,
        request: &JobId,
        found: Option<Object>,
    ) -> Result<Put, ApiError> {
        let (this, name, creates) = (self.clone(), name.to_owned(), found.is_none());
        let request = request.clone();
        let found = found.filter(|_| !planted(Bug::WriteUnconditionally));
        let effect = move |state: &mut State| {
            let put = state.apply(&name, by, &request, found.as_ref());
            if let Put::Taken(object) = &put {
                this.world
                    .history
                    .note(&this.name, &format!("{name} is at change {by}, generation {}", object.generation));
                this.world.executor.spawn(this.group, this.clone().reconcile(object.clone()));
            }
            put
        };
        if creates { self.call(effect).await } else { self.call_on_condition(effect).await }
    }

    /// Deletes an application, as it was found.
    ///
    /// # Errors
    /// Refused or lost.
    pub async fn delete(self: &Rc<Self>, name: &str, by: u64, found: Object) -> Result<Deletion, ApiError> {
        let (this, name) = (self.clone(), name.to_owned());
        self.call_on_condition(move |state| {
            let deletion = state.delete(&name, by, &found);
            if let Deletion::Pending(object) = &deletion {
                this.world.history.note(&this.name, &format!("{name} is being deleted by change {by}"));
                this.world.executor.spawn(this.group, this.clone().finalize(object.clone()));
            }
            deletion
        })
        .await
    }

    pub(super) fn now(&self) -> Timestamp {
        time_of_day(self.world.executor.now(), SignedDuration::ZERO)
    }

    fn state_mut(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }
}

impl State {
    /// What was found is compared with what is there; where nothing was, there is nothing to compare. An object that is
    /// being deleted takes the change all the same.
    fn apply(&mut self, name: &str, by: u64, request: &JobId, found: Option<&Object>) -> Put {
        let known = self.objects.get_mut(name);
        if found.is_some_and(|found| known.as_ref().is_none_or(|known| known.version != found.version)) {
            return Put::Race;
        }
        match known {
            Some(object) if object.foreign => return Put::Conflict,
            Some(object) if object.value == by => {
                let put = object.put(name);
                if object.request.replace(request.clone()).as_ref() != Some(request) {
                    self.touch(name);
                }
                return put;
            }
            Some(object) => {
                let before = std::mem::replace(&mut object.value, by);
                object.generation += 1;
                if !std::mem::take(&mut object.was_ready) {
                    self.overtaken.insert(before, by);
                }
            }
            None => self.create(name, by),
        }
        self.changes.push(Change { object: name.to_owned(), by });
        if let Some(object) = self.objects.get_mut(name) {
            object.request = Some(request.clone());
        }
        self.touch(name);
        self.objects.get(name).map_or(Put::Race, |object| object.put(name))
    }

    /// Whatever is written, status included, makes another version of the object.
    pub fn touch(&mut self, name: &str) {
        self.versions += 1;
        if let Some(object) = self.objects.get_mut(name) {
            object.version = self.versions;
        }
    }

    /// Writes the credentials Secret, if it is still what `read` was. Answers whether.
    pub fn write_credential(&mut self, read: Option<&Held>, held: Held) -> bool {
        if self.credential.as_ref() != read {
            return false;
        }
        let fulfilled = |held: Option<&Held>| held.and_then(|held| held.fulfilled.job.clone());
        if let Some(job) = fulfilled(Some(&held)).filter(|job| fulfilled(read).as_ref() != Some(job)) {
            self.rotated_for.push(job);
        }
        if let Some(read) = read.filter(|read| read.token != held.token) {
            self.promoted += 1;
            self.replaced.push(read.token.clone());
        }
        let former = self.credential.take();
        let dropped =
            former.iter().flat_map(Held::tokens).filter(|token| held.tokens().all(|kept| kept != *token));
        self.former.extend(dropped.cloned());
        self.credential = Some(held);
        true
    }

    /// The Cluster object goes, and the credentials Secret with it.
    pub fn leave(&mut self, left: Left) {
        self.left.get_or_insert(left);
        self.former.extend(self.credential.take().iter().flat_map(Held::tokens).cloned());
    }

    /// Somebody else takes a field over, or gives it back: whether others own it now. `None`: there is no such object.
    pub fn meddle(&mut self, name: &str) -> Option<bool> {
        let object = self.objects.get_mut(name)?;
        object.foreign = !object.foreign;
        let foreign = object.foreign;
        if foreign {
            self.takeovers.push((name.to_owned(), self.changes.len()));
        }
        self.touch(name);
        Some(foreign)
    }

    /// Whether others took a field over since this job changed the object: then it may change it and be told of a
    /// conflict when it is applied again, its first answer being lost.
    pub fn is_overtaken(&self, name: &str, by: u64) -> bool {
        let changed = self.changes.iter().position(|change| change.by == by);
        changed.is_some_and(|at| self.takeovers.iter().any(|(other, before)| other == name && *before > at))
    }

    /// Changes from this one on with which the object became ready.
    pub fn reached_since(&self, name: &str, by: u64) -> impl Iterator<Item = u64> {
        let of_object = (name.to_owned(), by)..=(name.to_owned(), u64::MAX);
        self.reached.range(of_object).map(|(_, by)| *by)
    }

    fn create(&mut self, name: &str, by: u64) {
        self.next_uid += 1;
        let object = Object {
            uid: format!("{}-uid-{}", self.name, self.next_uid),
            generation: 1,
            version: 0,
            value: by,
            foreign: false,
            was_ready: false,
            deleting: false,
            looks: 0,
            conditions: Vec::new(),
            request: None,
            handled_request: None,
        };
        self.objects.insert(name.to_owned(), object);
    }

    fn delete(&mut self, name: &str, by: u64, found: &Object) -> Deletion {
        let Some(object) = self.objects.get_mut(name) else {
            return Deletion::Gone(reference_of(name));
        };
        if object.version != found.version {
            return Deletion::Race;
        }
        let reference = object.reference(name);
        if !object.deleting {
            object.deleting = true;
            if !object.was_ready {
                self.overtaken.insert(object.value, by);
            }
            self.changes.push(Change { object: name.to_owned(), by });
            self.touch(name);
        }
        Deletion::Pending(reference)
    }
}

impl Object {
    fn put(&self, name: &str) -> Put {
        if self.deleting { Put::Deleting } else { Put::Taken(self.reference(name)) }
    }

    /// Whether it is going away.
    pub fn is_deleting(&self) -> bool {
        self.deleting
    }

    /// The object as others refer to it.
    pub fn reference(&self, name: &str) -> ObjectRef {
        ObjectRef { uid: self.uid.clone(), generation: self.generation, ..reference_of(name) }
    }
}

/// An application as others refer to it, whatever life of it.
pub fn reference_of(name: &str) -> ObjectRef {
    ObjectRef {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        ..ObjectRef::default()
    }
}
