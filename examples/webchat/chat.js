// The page keeps the messages in localStorage. The server keeps where each flow paused.
// The page sends a message again, with the same id, until the bot answers it.

const STORED = "booking:";
const FIRST_PAUSE = 250, LONGEST_PAUSE = 4000; // milliseconds between attempts to connect
const FORGOTTEN_AFTER = 5000; // milliseconds; a running bot reminds within half a second

const isWide = matchMedia("(min-width: 60rem)"); // as in style.css

const find = (selector, within = document) => within.querySelector(selector);
const copy = (id) => find(`#${id}`).content.firstElementChild.cloneNode(true);

const bookings = new Map();
let waits = [];
let socket;
let inFlight; // ids of the messages that this socket has sent
let pause = FIRST_PAUSE;

// --- Bookings ---

function openBooking(id, title, messages = []) {
  const booking = { id, title, messages, element: copy("booking"), waitElement: copy("wait") };
  bookings.set(id, booking);
  const { element } = booking;
  element.dataset.id = id;
  element.setAttribute("aria-label", title);
  find("h2", element).textContent = title;
  find(".log", element).setAttribute("aria-label", `${title}: what was said`);
  find("input", element).setAttribute("aria-label", `${title}: your message`);
  find(".remove", element).setAttribute("aria-label", `Remove ${title}`);
  find(".remove", element).addEventListener("click", () => removeBooking(booking));
  find("form", element).addEventListener("submit", (event) => submit(event, booking));
  find("button", booking.waitElement).addEventListener("click", () => goTo(booking));
  find("#bookings").append(element);
  show(booking);
  return booking;
}

function beginBooking() {
  const booking = openBooking(newId(), newTitle());
  say(booking, "I would like a table.");
  goTo(booking);
}

function newTitle() {
  const numbers = [...bookings.values()].map(({ title }) => Number(title.split(" ")[1]));
  return `Booking ${Math.max(0, ...numbers) + 1}`;
}

function removeBooking(booking) {
  bookings.delete(booking.id);
  booking.element.remove();
  localStorage.removeItem(STORED + booking.id);
  showEmpty();
  find(bookings.size ? "#open" : "#first").focus();
}

function goTo({ element }) {
  find("input", element).focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// --- Messages ---

function submit(event, booking) {
  event.preventDefault();
  const input = find("input", booking.element);
  const text = input.value.trim();
  input.value = "";
  if (text) say(booking, text);
}

function say(booking, text) {
  add(booking, { id: newId(), from: "you", text, answered: false });
  send(booking);
}

function receiveAnswer({ conversation, replyToId, text, inputHint, suggestedActions }) {
  const booking = bookings.get(conversation.id);
  if (!booking) return;
  showConnection("connected", "Connected");
  const question = booking.messages.find(({ id }) => id === replyToId);
  if (question) question.answered = true;
  const asks = inputHint === "expectingInput";
  const choices = suggestedActions.actions.map(({ value }) => value);
  add(booking, { id: `answer:${replyToId}`, from: "bot", text, asks, choices });
  send(booking);
}

function add(booking, message) {
  if (booking.messages.some(({ id }) => id === message.id)) return;
  booking.messages.push(message);
  save(booking);
  show(booking);
}

function send(booking) {
  const next = unanswered(booking);
  if (!next || inFlight.has(next.id) || socket.readyState !== WebSocket.OPEN) return;
  inFlight.add(next.id);
  socket.send(JSON.stringify({
    type: "message",
    conversation: { id: booking.id },
    channelData: { clientActivityID: next.id },
    text: next.text,
  }));
}

function sendAll() {
  bookings.forEach(send);
}

function sendLater() {
  showConnection("connecting", "Trying again…");
  inFlight.clear();
  setTimeout(sendAll, LONGEST_PAUSE);
}

const unanswered = ({ messages }) => messages.find(({ answered }) => answered === false);

// --- Open questions ---

function receiveWaits(frame) {
  const now = performance.now();
  waits = frame.waits.map((wait) => ({
    ...wait,
    booking: bookings.get(wait.conversation.id) ?? restore(wait),
    endsAt: now + wait.secondsLeft * 1000,
  }));
  waits.forEach(addReminder);
  frame.letGo.forEach(addRelease);
  bookings.forEach(noteEnd);
  showWaits();
}

function restore(wait) {
  const booking = openBooking(wait.conversation.id, newTitle(), [questionOf(wait)]);
  save(booking);
  return booking;
}

function addReminder(wait) {
  if (wait.isReminder) add(wait.booking, questionOf(wait));
}

function addRelease({ conversation, text, replyToId }) {
  const booking = bookings.get(conversation.id);
  if (booking) add(booking, { id: `end:${replyToId}`, from: "bot", text });
}

function questionOf({ isReminder, replyToId, text, choices }) {
  return { id: `${isReminder ? "reminder" : "answer"}:${replyToId}`, from: "bot", text, asks: true, choices };
}

// After a deadline, nothing waits until the bot reminds the user or releases the table.
// If it does neither for a while, the store no longer has the question.
function noteEnd(booking) {
  const now = performance.now();
  booking.forgottenAt = isForgotten(booking) ? booking.forgottenAt ?? now : undefined;
  if (now - booking.forgottenAt < FORGOTTEN_AFTER || !isForgotten(booking)) return;
  const id = `end:${booking.messages.at(-1).id}`;
  add(booking, { id, from: "note", text: "The time to answer is over. Write anything to begin again." });
}

const isForgotten = (booking) => booking.messages.at(-1)?.asks && !isAwaited(booking);

const isAwaited = (booking) => waits.some((wait) => wait.booking === booking);

function askForWaits() {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "waits" }));
}

function tick() {
  const isOver = ({ endsAt }) => endsAt <= performance.now();
  if (waits.some(isOver) || [...bookings.values()].some(isForgotten)) askForWaits();
  showTimes();
}

// --- Rendering ---

function show(booking) {
  const { element, messages } = booking;
  const log = find(".log", element);
  messages.forEach((message, index) => {
    const line = log.children[index] ?? log.appendChild(lineOf(message));
    line.classList.toggle("unanswered", message.answered === false);
  });
  const choices = messages.at(-1)?.choices ?? [];
  find(".choices", element).replaceChildren(...choices.map((text) => choiceOf(booking, text)));
  log.scrollTop = log.scrollHeight;
  showEmpty();
}

function lineOf({ from, text }) {
  const line = document.createElement("p");
  line.className = from;
  const speaker = { you: "You: ", bot: "Trattoria: ", note: "" }[from];
  line.append(hidden(speaker), text);
  return line;
}

function choiceOf(booking, text) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", () => {
    say(booking, text);
    goTo(booking);
  });
  return button;
}

function hidden(text) {
  const span = document.createElement("span");
  span.className = "hidden";
  span.textContent = text;
  return span;
}

function showEmpty() {
  document.body.classList.toggle("is-empty", bookings.size === 0);
}

function showWaits() {
  waits.sort((one, other) => one.endsAt - other.endsAt);
  waits.forEach(showWait);
  arrange(find("#waits"), waits.map(({ booking }) => booking.waitElement));
  find("#no-waits").hidden = waits.length > 0;
  find("#count").textContent = waits.length;
  bookings.forEach((booking) => booking.element.classList.toggle("is-awaited", isAwaited(booking)));
  showTimes();
}

function showWait({ booking, waitsFor, isReminder }) {
  const element = booking.waitElement;
  find(".what", element).textContent = waitsFor;
  find(".where", element).textContent = isReminder ? `${booking.title}, reminded` : booking.title;
  find(".until", element).textContent = isReminder ? "table held for" : "reminder in";
}

// An element that is moved loses the focus, so change the list only if its order changes.
function arrange(list, elements) {
  const same = list.children.length === elements.length
    && elements.every((element, index) => list.children[index] === element);
  if (!same) list.replaceChildren(...elements);
}

function showTimes() {
  waits.forEach((wait) => {
    const seconds = secondsLeft(wait);
    const left = find(".left", wait.booking.waitElement);
    left.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    left.classList.toggle("soon", isSoon(wait));
  });
  find("#count").classList.toggle("soon", waits.some(isSoon));
}

const secondsLeft = ({ endsAt }) => Math.max(0, Math.ceil((endsAt - performance.now()) / 1000));

const isSoon = (wait) => secondsLeft(wait) <= 60;

// On a phone, the list would push the bookings down, so it stays folded until the user opens it.
function fold() {
  find("#fold").open = isWide.matches;
}

// --- Local storage ---

function save({ id, title, messages }) {
  localStorage.setItem(STORED + id, JSON.stringify({ title, messages }));
}

function load(id, { title, messages }) {
  const booking = bookings.get(id) ?? openBooking(id, title);
  booking.messages = messages;
  show(booking);
}

function loadAll() {
  const kept = Object.entries(localStorage).filter(([key]) => key.startsWith(STORED));
  const parsed = kept.map(([key, value]) => [key.slice(STORED.length), JSON.parse(value)]);
  parsed.sort(([, one], [, other]) => one.title.localeCompare(other.title, "en", { numeric: true }));
  parsed.forEach(([id, booking]) => load(id, booking));
  showEmpty();
}

function loadFromOtherTab({ key, newValue }) {
  if (!key?.startsWith(STORED)) return;
  const id = key.slice(STORED.length);
  if (newValue) load(id, JSON.parse(newValue));
  else if (bookings.has(id)) removeBooking(bookings.get(id));
  askForWaits();
}

// Browsers offer crypto.randomUUID only over https or on localhost.
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- The connection ---

function connect() {
  inFlight = new Set();
  socket = new WebSocket(new URL("chat", location.href.replace(/^http/, "ws")));
  socket.addEventListener("open", opened);
  socket.addEventListener("close", closed);
  socket.addEventListener("message", ({ data }) => received(JSON.parse(data)));
}

function opened() {
  pause = FIRST_PAUSE;
  showConnection("connected", "Connected");
  sendAll();
}

function closed() {
  showConnection("connecting", "Connecting…");
  setTimeout(connect, pause);
  pause = Math.min(2 * pause, LONGEST_PAUSE);
}

function received(frame) {
  const handlers = { message: receiveAnswer, waits: receiveWaits, later: sendLater };
  handlers[frame.type](frame);
}

function showConnection(state, text) {
  const connection = find("#connection");
  if (connection.textContent !== text) connection.textContent = text;
  connection.dataset.state = state;
}

// --- Start ---

fold();
isWide.addEventListener("change", fold);
loadAll();
connect();
setInterval(tick, 1000);
find("#open").addEventListener("click", beginBooking);
find("#first").addEventListener("click", beginBooking);
addEventListener("storage", loadFromOtherTab);
document.addEventListener("visibilitychange", askForWaits);
