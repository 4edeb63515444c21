//! Where users are: bindings of an address of record to contacts (RFC 3261, section 10), with the way to each (RFC 3327),
//! the flow that leads to it (RFC 5626), and addresses that stand for one device (RFC 5627).

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use attache_sip::message::{HeaderName, Message, NameAddr};
use attache_sip::transport::{Flow, FlowId};
use attache_sip::uri::{Uri, UriBuf};

use crate::directory::{Aor, identity};
use crate::reach::Reach;

/// One contact of a user.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) contact: UriBuf,
    pub(crate) reach: Reach,
    /// Proxies on the way, nearest to us first.
    pub(crate) path: Arc<[String]>,
    /// Thousandths; the higher the dearer.
    pub(crate) q: u16,
    pub(crate) expires_at: Instant,
    /// The device and its flow (RFC 5626, section 4.1): a device that comes back replaces what it had.
    instance: Option<(String, String)>,
    call_id: String,
    cseq: u32,
}

impl Binding {
    /// The device, if it has told its identifier.
    pub(crate) fn device(&self) -> Option<&str> {
        self.instance.as_ref().map(|(id, _)| &**id)
    }

    /// Which flow of its device it is, where it has told that.
    pub(crate) fn registration(&self) -> Option<&str> {
        self.instance.as_ref().map(|(_, number)| &**number)
    }
}

/// How a REGISTER came, and what its client understands.
pub(crate) struct Terms {
    pub(crate) path: Arc<[String]>,
    /// The flow itself is bound, and no other way is tried (RFC 5626, section 6).
    pub(crate) outbound: bool,
    /// A new temporary address for each device that registers (RFC 5627, section 5.1), where the client wants one.
    pub(crate) temporary: Option<String>,
    /// The most bindings of one user.
    pub(crate) per_user: usize,
}

/// Why a REGISTER changed nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    Malformed(&'static str),
    /// 423, with the least that is accepted.
    TooBrief,
    /// An older request of the same client came late.
    OutOfOrder,
    /// 439: the proxy that the client talks to keeps no flows (RFC 5626, section 6).
    FirstHop,
}

/// What a REGISTER wants to change.
pub(crate) enum Change {
    Nothing,
    RemoveAll,
    Set(Vec<Wish>),
}

pub(crate) struct Wish {
    contact: UriBuf,
    expires: Duration,
    q: u16,
    instance: Option<(String, String)>,
}

/// Bounds on registrations.
#[derive(Copy, Clone)]
pub(crate) struct Bounds {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    pub(crate) per_user: usize,
}

#[derive(Default)]
pub(crate) struct Registrar {
    bindings: HashMap<Aor, Vec<Binding>>,
    /// Who has bound a connection, to be asked when it breaks.
    flows: HashMap<FlowId, Vec<Aor>>,
    /// Temporary addresses of each device, the latest last.
    temporary: HashMap<Aor, HashMap<String, VecDeque<String>>>,
    /// The devices behind them.
    devices: HashMap<String, (Aor, String)>,
}

/// Temporary addresses of one device that are good at one time.
const MOST_TEMPORARY: usize = 32;
/// The longest identifier of a device.
const LONGEST_INSTANCE: usize = 256;
/// How temporary addresses begin.
const TEMPORARY: &str = "tgruu.";

impl Change {
    /// Reads what a REGISTER asks for, and changes nothing.
    pub(crate) fn read(request: &Message, bounds: &Bounds) -> Result<Self, Refusal> {
        let general = request.expires();
        if request.values(HeaderName::Contact).any(|value| value == b"*") {
            return match (request.contact_is_star(), general) {
                (true, Some(0)) if request.count(HeaderName::Contact) == 1 => Ok(Self::RemoveAll),
                _ => Err(Refusal::Malformed("`*` stands alone, and with Expires: 0")),
            };
        }
        let mut wishes = Vec::new();
        for contact in request.contacts() {
            let contact = contact.map_err(|_| Refusal::Malformed("a contact cannot be read"))?;
            let uri = contact.uri().map_err(|_| Refusal::Malformed("a contact's address cannot be read"))?;
            let asked = contact
                .expires()
                .or(general)
                .map_or(bounds.max, |seconds| Duration::from_secs(seconds.into()));
            if !asked.is_zero() && asked < bounds.min {
                return Err(Refusal::TooBrief);
            }
            let text = |name| contact.params().get_str(name).map(str::to_owned);
            if text("+sip.instance").is_some_and(|id| id.len() > LONGEST_INSTANCE)
                || text("reg-id").is_some_and(|number| number.len() > 10)
            {
                return Err(Refusal::Malformed("the identifier of a device is too long"));
            }
            wishes.push(Wish {
                contact: uri.to_buf(),
                expires: asked.min(bounds.max),
                q: contact.q().unwrap_or(1000),
                instance: text("+sip.instance").map(|id| (id, text("reg-id").unwrap_or_default())),
            });
            if wishes.len() > bounds.per_user {
                return Err(Refusal::Malformed("there are too many contacts"));
            }
        }
        Ok(if wishes.is_empty() { Self::Nothing } else { Self::Set(wishes) })
    }
}

impl Registrar {
    /// Applies a REGISTER, wholly or not at all.
    pub(crate) fn apply(
        &mut self,
        aor: &Aor,
        change: Change,
        request: &Message,
        flow: &Flow,
        terms: &Terms,
        now: Instant,
    ) -> Result<(), Refusal> {
        let per_user = terms.per_user;
        let call_id = request.call_id().unwrap_or_default();
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        let bindings = self.bindings.entry(Aor::clone(aor)).or_default();
        let late = |binding: &Binding| binding.call_id == call_id && binding.cseq >= cseq;
        let mut minted = Vec::new();
        match change {
            Change::Nothing => {}
            Change::RemoveAll => {
                if bindings.iter().any(late) {
                    return Err(Refusal::OutOfOrder);
                }
                bindings.clear();
            }
            Change::Set(wishes) => {
                let is_late =
                    |wish: &Wish| bindings.iter().any(|binding| same(binding, wish) && late(binding));
                if wishes.iter().any(is_late) {
                    return Err(Refusal::OutOfOrder);
                }
                for wish in wishes {
                    bindings.retain(|binding| !same(binding, &wish));
                    if wish.expires.is_zero() {
                        continue;
                    }
                    // A client that starts anew on another port each time must not lock itself out.
                    if bindings.len() >= per_user
                        && let Some(first) =
                            (0..bindings.len()).min_by_key(|index| bindings[*index].expires_at)
                    {
                        bindings.remove(first);
                    }
                    let bound = terms.outbound && wish.is_flow();
                    let reach = match terms.path.first().and_then(|hop| first_hop(hop)) {
                        Some(hop) => Reach::new(&hop.as_uri(), flow),
                        None if bound => Reach::over(flow),
                        None => Reach::new(&wish.contact.as_uri(), flow),
                    };
                    if let Some(flow) = reach.flow.filter(|_| reach.ends_with_its_flow()) {
                        let users = self.flows.entry(flow).or_default();
                        if !users.contains(aor) {
                            users.push(Aor::clone(aor));
                        }
                    }
                    if let (Some(token), Some((id, _))) = (&terms.temporary, &wish.instance) {
                        minted.push((id.clone(), format!("{token}{}", minted.len())));
                    }
                    bindings.push(Binding {
                        reach,
                        path: Arc::clone(&terms.path),
                        contact: wish.contact,
                        q: wish.q,
                        expires_at: now + wish.expires,
                        instance: wish.instance,
                        call_id: call_id.to_owned(),
                        cseq,
                    });
                }
                // Stable, so that among equals the older one stays first.
                bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q));
            }
        }
        for (device, token) in minted {
            let all = self.temporary.entry(Aor::clone(aor)).or_default().entry(device.clone()).or_default();
            all.push_back(token.clone());
            self.devices.insert(token, (Aor::clone(aor), device));
            if all.len() > MOST_TEMPORARY
                && let Some(oldest) = all.pop_front()
            {
                self.devices.remove(&oldest);
            }
        }
        self.tidy(aor);
        Ok(())
    }

    /// Forgets what belongs to bindings that are no more.
    fn tidy(&mut self, aor: &Aor) {
        let bindings = self.bindings.get(aor).map_or(&[][..], Vec::as_slice);
        if let Some(devices) = self.temporary.get_mut(aor) {
            devices.retain(|device, tokens| {
                let stays = bindings.iter().any(|binding| binding.device() == Some(device));
                if !stays {
                    for token in tokens {
                        self.devices.remove(token);
                    }
                }
                stays
            });
            if devices.is_empty() {
                self.temporary.remove(aor);
            }
        }
        if bindings.is_empty() {
            self.bindings.remove(aor);
        }
    }

    /// A connection is gone: so is whoever could be reached by it alone (RFC 5626, section 6). The users of such
    /// connections.
    pub(crate) fn flow_failed(&mut self, flow: FlowId) -> Vec<Aor> {
        let users = self.flows.remove(&flow).unwrap_or_default();
        for aor in &users {
            if let Some(bindings) = self.bindings.get_mut(aor) {
                bindings.retain(|binding| {
                    binding.reach.flow != Some(flow) || !binding.reach.ends_with_its_flow()
                });
            }
            self.tidy(aor);
        }
        users
    }

    /// The user and the device that an address stands for (RFC 5627, section 5.2): `None` for an address that stands for
    /// a user as such; a device of `None` for one that stands for nobody any more.
    pub(crate) fn device(&self, uri: &Uri<'_>) -> Option<(Aor, Option<String>)> {
        let gr = uri.param("gr")?;
        let name = identity(uri)?;
        if let Some(token) = name.split('@').next().and_then(|user| user.strip_prefix(TEMPORARY)) {
            let (aor, device) = self.devices.get(token)?;
            return Some((Aor::clone(aor), Some(device.clone())));
        }
        let (aor, bindings) = match self.bindings.get_key_value(&*name) {
            Some((aor, bindings)) => (Aor::clone(aor), &bindings[..]),
            None => (Aor::from(name), &[][..]),
        };
        let mut devices = bindings.iter().filter_map(Binding::device);
        Some((aor, devices.find(|device| gr_value(device) == gr).map(str::to_owned)))
    }

    /// The device that a contact belongs to.
    pub(crate) fn device_at(&self, aor: &str, contact: &UriBuf, reach: &Reach) -> Option<String> {
        let mut bindings = self.bindings.get(aor)?.iter();
        let found = bindings.find(|one| one.contact.as_str() == contact.as_str() && one.reach == *reach)?;
        found.device().map(str::to_owned)
    }

    /// The addresses that stand for a binding's device.
    pub(crate) fn gruus(&self, aor: &Aor, binding: &Binding) -> Option<(String, Option<String>)> {
        let device = binding.device()?;
        let public = format!("sip:{aor};gr={}", gr_value(device));
        let latest = self.temporary.get(aor).and_then(|devices| devices.get(device)?.back());
        let domain = aor.split_once('@').map_or("", |(_, domain)| domain);
        Some((public, latest.map(|token| format!("sip:{TEMPORARY}{token}@{domain};gr"))))
    }

    /// One binding for each device of a user, the one that was made last, and each binding without a device; dearest
    /// first (RFC 5626, section 6). `only` names the device that is meant.
    pub(crate) fn targets(&self, aor: &str, only: Option<&str>, now: Instant) -> Vec<&Binding> {
        let mut targets: Vec<&Binding> = Vec::new();
        for binding in self.bindings(aor, now) {
            let device = binding.device();
            if only.is_some() && device != only {
                continue;
            }
            let known = targets.iter().position(|known| device.is_some() && known.device() == device);
            match known {
                Some(at) if targets[at].q == binding.q => targets[at] = binding,
                Some(_) => {}
                None => targets.push(binding),
            }
        }
        targets
    }

    /// The bindings of a user that hold now, dearest first.
    pub(crate) fn bindings(&self, aor: &str, now: Instant) -> impl Iterator<Item = &Binding> {
        self.bindings.get(aor).into_iter().flatten().filter(move |binding| binding.expires_at > now)
    }

    /// Forgets what has expired, and says when the next one will.
    pub(crate) fn expire(&mut self, aor: &Aor, now: Instant) -> Option<Instant> {
        let bindings = self.bindings.get_mut(aor)?;
        bindings.retain(|binding| binding.expires_at > now);
        let next = bindings.iter().map(|binding| binding.expires_at).min();
        self.tidy(aor);
        next
    }

    /// Forgets a contact that can be reached no more; not one that has registered anew from elsewhere.
    pub(crate) fn remove(&mut self, aor: &Aor, contact: &UriBuf, reach: &Reach) {
        if let Some(bindings) = self.bindings.get_mut(aor) {
            bindings
                .retain(|binding| binding.contact.as_str() != contact.as_str() || binding.reach != *reach);
            self.tidy(aor);
        }
    }

    /// Users with at least one binding.
    pub(crate) fn len(&self) -> usize {
        self.bindings.len()
    }
}

/// The contact headers of a 200.
pub(crate) fn contact_value(
    binding: &Binding,
    gruus: Option<(String, Option<String>)>,
    now: Instant,
) -> String {
    let left = binding.expires_at.saturating_duration_since(now).as_secs();
    let mut value = format!("<{}>;expires={left}", binding.contact);
    if binding.q < 1000 {
        value.push_str(&format!(";q=0.{:03}", binding.q));
    }
    if let Some((id, registration)) = &binding.instance {
        // Its quotes were taken off; whatever was in them comes from the client itself, and goes back to it.
        value.push_str(&format!(";+sip.instance=\"{id}\""));
        if !registration.is_empty() {
            value.push_str(&format!(";reg-id={registration}"));
        }
    }
    if let Some((public, temporary)) = gruus {
        value.push_str(&format!(";pub-gruu=\"{public}\""));
        if let Some(temporary) = temporary {
            value.push_str(&format!(";temp-gruu=\"{temporary}\""));
        }
    }
    value
}

fn same(binding: &Binding, wish: &Wish) -> bool {
    match (&binding.instance, &wish.instance) {
        // Of flows only this says which is which (RFC 5626, section 6): behind one address there may be several.
        (Some(known), Some(wanted)) if !known.1.is_empty() && !wanted.1.is_empty() => known == wanted,
        (known, wanted) => binding.contact.equivalent(&wish.contact) || (wanted.is_some() && known == wanted),
    }
}

impl Wish {
    /// Whether it is about one flow of a device.
    fn is_flow(&self) -> bool {
        self.instance.as_ref().is_some_and(|(_, registration)| !registration.is_empty())
    }
}

/// What a device is called in addresses that stand for it.
fn gr_value(device: &str) -> String {
    let bare = device.trim_start_matches('<').trim_end_matches('>');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.' | '_');
    if !bare.is_empty() && bare.chars().all(is_plain) {
        return bare.to_owned();
    }
    let mut hasher = std::hash::DefaultHasher::new();
    bare.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The address in the value of a Path header.
fn first_hop(value: &str) -> Option<UriBuf> {
    Some(NameAddr::parse(value.as_bytes())?.uri().ok()?.to_buf())
}

/// Whether a contact leads back to this service, which would be a loop.
pub(crate) fn leads_here(contact: &Uri<'_>, local: &[std::net::SocketAddr]) -> bool {
    let Some(address) = contact.host().and_then(|host| host.ip()) else { return false };
    let port = contact.port().unwrap_or(5060);
    local.iter().any(|here| here.ip() == address && here.port() == port)
}

impl Change {
    /// Whether one of them is about a flow of a device (RFC 5626).
    pub(crate) fn names_a_flow(&self) -> bool {
        matches!(self, Self::Set(wishes) if wishes.iter().any(Wish::is_flow))
    }

    /// The contacts that it sets.
    pub(crate) fn contacts(&self) -> impl Iterator<Item = Uri<'_>> {
        let wishes = if let Self::Set(wishes) = self { &wishes[..] } else { &[] };
        wishes.iter().map(|wish| wish.contact.as_uri())
    }
}
