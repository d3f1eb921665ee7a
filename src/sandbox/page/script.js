// Shows the chats of the sandbox as they fill. The server draws what people wrote; here everything is set as text.
"use strict";

const WORDS = {
  en: {
    name: "OpenIM sandbox", live: "live", lost: "reconnecting…",
    welcome: "Nobody has said anything yet",
    what: "This is a stand-in OpenIM server. Whatever is sent through its API shows up here at once, as people would see it in their chats.",
    api: "API address", secret: "secret", admin: "admin",
    then: "Point a bridge at it and post a webhook, or call /msg/send_msg yourself. Everything is kept in memory and gone when it stops.",
    choose: "Choose a chat", chooseWhat: "Chats are on the left. New messages arrive by themselves.",
    watch: "This page only watches. Messages come through the API.",
    members: (n) => (n === 1 ? "1 member" : `${n} members`), with: "with", notices: "notifications from",
    dismissed: "dismissed", muted: "muted", nothing: "No messages yet", revoked: "This message was taken back",
    today: "Today", yesterday: "Yesterday", down: (n) => `${n} new ↓`, back: "Back to the chats", called: "[mention]",
    picture: "[picture]", voice: "[voice]", video: "[video]", file: "[file]", custom: "[card]", other: "[message]", notice: "[notification]",
    1501: (by) => `${by} created the group`, 1509: (by) => `${by} invited new members`, 1511: (by) => `${by} dismissed the group`,
    1512: (by) => `${by} muted a member`, 1513: (by) => `${by} let a member speak again`, 1514: (by) => `${by} muted the group`, 1515: (by) => `${by} let the group speak again`,
    news: (by) => `${by} changed the group`,
  },
  zh: {
    name: "OpenIM 沙盒", live: "实时", lost: "正在重连…",
    welcome: "还没有人说话",
    what: "这是一台模拟的 OpenIM 服务器。通过 API 发送的消息会立刻显示在这里，与大家在聊天中看到的一样。",
    api: "API 地址", secret: "密钥", admin: "管理员",
    then: "把 bridge 指向它并发送一个 webhook，或者自己调用 /msg/send_msg。所有内容只保存在内存里，停止后即消失。",
    choose: "请选择一个会话", chooseWhat: "会话在左侧，新消息会自动出现。",
    watch: "本页只供查看，消息通过 API 发送。",
    members: (n) => `${n} 位成员`, with: "对方：", notices: "通知来自",
    dismissed: "已解散", muted: "已禁言", nothing: "还没有消息", revoked: "此消息已被撤回",
    today: "今天", yesterday: "昨天", down: (n) => `${n} 条新消息 ↓`, back: "返回会话列表", called: "[有人@]",
    picture: "[图片]", voice: "[语音]", video: "[视频]", file: "[文件]", custom: "[卡片]", other: "[消息]", notice: "[通知]",
    1501: (by) => `${by} 创建了群聊`, 1509: (by) => `${by} 邀请了新成员`, 1511: (by) => `${by} 解散了群聊`,
    1512: (by) => `${by} 禁言了一位成员`, 1513: (by) => `${by} 解除了一位成员的禁言`, 1514: (by) => `${by} 开启了全员禁言`, 1515: (by) => `${by} 关闭了全员禁言`,
    news: (by) => `${by} 修改了群聊`,
  },
};

const asked = new URLSearchParams(location.search);
const language = (asked.get("lang") || navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
const say = WORDS[language];
const locale = language === "zh" ? "zh-CN" : navigator.language || "en";
const at = (id) => document.getElementById(id);
const isNarrow = () => matchMedia("(max-width: 720px)").matches;
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(locale, { weekday: "short", day: "numeric", month: "short" });

let chats = new Map(); // id → chat, with its messages
let open = null; // the id of the chat that is shown
let start = null; // which run of the sandbox this is
let seen = new Map(); // chat → the seq up to which it was read
let below = 0; // messages that came while the reader was further up

document.documentElement.lang = language;
if (["light", "dark"].includes(asked.get("theme"))) document.documentElement.dataset.theme = asked.get("theme");
for (const place of document.querySelectorAll("[data-say]")) place.textContent = say[place.dataset.say];
at("api").textContent = location.origin;
at("back").setAttribute("aria-label", say.back);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// A face: the picture if there is one, above the initials on a colour of their own.
function face(name, picture, kind, size) {
  const element = make("span", `face ${kind} ${size || ""}`);
  let hue = 7;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  element.style.setProperty("--hue", hue);
  element.setAttribute("aria-hidden", "true");
  const words = name.split(/[\s_.-]+/).filter(Boolean);
  const initials = /[^\u0000-\u024f]/.test(name) ? [...name].slice(-2) : words.slice(0, 2).map((word) => [...word][0].toUpperCase());
  element.textContent = initials.join("") || "?";
  if (picture) {
    const image = make("img");
    image.alt = "";
    image.referrerPolicy = "no-referrer";
    image.addEventListener("error", () => image.remove());
    image.src = picture;
    element.append(image);
  }
  return element;
}

function dayOf(time) {
  const day = new Date(time).toDateString();
  if (day === new Date().toDateString()) return say.today;
  if (day === new Date(Date.now() - 864e5).toDateString()) return say.yesterday;
  return calendar.format(time);
}

const newsText = (message) => (say[message.news] || say.news)(message.name);

function lastLine(chat) {
  const line = make("span", "last");
  const message = chat.messages.at(-1);
  if (!message) line.textContent = say.nothing;
  else if (message.news) line.textContent = newsText(message);
  else {
    if (chat.called) line.append(make("span", "at", `${say.called} `));
    if (chat.kind === "group") line.append(make("b", "", `${message.name}: `));
    line.append(message.kind === "revoked" ? say.revoked : message.preview || say[message.kind]);
  }
  return line;
}

function drawList() {
  const all = [...chats.values()].sort((a, b) => (b.messages.at(-1)?.order ?? -1) - (a.messages.at(-1)?.order ?? -1));
  at("chats").replaceChildren(
    ...all.map((chat) => {
      const row = make("button", chat.unread ? "unread" : "");
      row.type = "button";
      row.setAttribute("aria-current", String(chat.id === open));
      const title = make("span", "title", chat.title);
      const mark = chat.dismissed ? say.dismissed : chat.muted ? say.muted : chat.kind === "notice" ? say.notice : "";
      if (mark) title.append(make("small", "", mark));
      const last = chat.messages.at(-1);
      const time = make("time", "", last ? (dayOf(last.time) === say.today ? clock.format(last.time) : dayOf(last.time)) : "");
      row.append(face(chat.title, chat.face, chat.kind), title, time, lastLine(chat));
      if (chat.unread) row.append(make("span", "badge", chat.unread > 99 ? "99+" : chat.unread));
      row.addEventListener("click", () => (location.hash = encodeURIComponent(chat.id)));
      return row;
    }),
  );
  const unread = all.reduce((sum, chat) => sum + chat.unread, 0);
  document.title = unread ? `(${unread}) ${say.name}` : say.name;
}

// One message, or the two or three elements that it needs (a new day, what the server says).
function drawMessage(message, before) {
  const elements = [];
  const newDay = !before || new Date(before.time).toDateString() !== new Date(message.time).toDateString();
  if (newDay) {
    const day = make("div", "day");
    day.append(make("span", "", dayOf(message.time)));
    elements.push(day);
  }
  if (message.news) return [...elements, make("div", "news", newsText(message))];
  const goesOn = !newDay && !before.news && before.from === message.from && before.name === message.name && message.time - before.time < 3e5;
  const row = make("article", goesOn ? "message more" : "message");
  const body = make("div", "body");
  if (!goesOn) {
    row.append(face(message.name, message.face, "person", "small"));
    const name = make("div", "name", message.name);
    if (message.bot) name.append(make("i", "", "BOT"));
    body.append(name);
  }
  const bubble = make("div", `bubble ${message.kind}`);
  if (message.kind === "revoked") bubble.textContent = say.revoked;
  else bubble.innerHTML = message.html; // drawn by the server: its own tags around escaped text, and a policy that runs nothing
  const picture = bubble.querySelector("img.picture");
  picture?.addEventListener("error", () => {
    const gone = make("span", "gone");
    gone.append(make("i", "sign picture"), make("span", "", picture.alt));
    picture.replaceWith(gone);
  });
  if (bubble.querySelector(".mention")) bubble.classList.add("called");
  const time = make("time", "", clock.format(message.time));
  time.title = `${new Date(message.time).toLocaleString(locale)}\nseq ${message.seq}${message.ex ? `\n${message.ex}` : ""}`;
  const last = bubble.lastElementChild;
  const inside = last?.classList.contains("md") && last.lastElementChild?.tagName === "P" ? last : bubble;
  inside.append(time);
  body.append(bubble);
  row.append(body);
  return [...elements, row];
}

function drawChat() {
  const chat = chats.get(open);
  document.body.classList.toggle("open", Boolean(chat));
  document.body.classList.toggle("empty", chats.size === 0);
  at("chat").hidden = !chat;
  at("welcome").hidden = Boolean(chat);
  if (!chat) {
    const some = [...chats.values()].some((chat) => chat.messages.some((message) => !message.news));
    document.querySelector("[data-say=welcome]").textContent = some ? say.choose : say.welcome;
    document.querySelector("[data-say=what]").textContent = some ? say.chooseWhat : say.what;
    return;
  }
  markRead(chat);
  at("face").replaceChildren(face(chat.title, chat.face, chat.kind));
  at("title").textContent = chat.title;
  const names = chat.members.join(language === "zh" ? "、" : ", ");
  at("subtitle").textContent = { group: `${say.members(chat.members.length)} · ${names}`, person: `${say.with} ${names}`, notice: `${say.notices} ${names}` }[chat.kind];
  at("address").textContent = `${chat.kind}:#${chat.address}`;
  const list = at("messages");
  if (chat.messages.length === 0) list.replaceChildren(make("div", "nothing", say.nothing));
  else list.replaceChildren(...chat.messages.flatMap((message, i) => drawMessage(message, chat.messages[i - 1])));
  goDown();
}

function markRead(chat) {
  chat.unread = 0;
  chat.called = false;
  seen.set(chat.id, chat.messages.at(-1)?.seq ?? 0);
}

function goDown() {
  below = 0;
  at("down").hidden = true;
  at("messages").scrollTop = at("messages").scrollHeight;
}

function append(chat, message) {
  const list = at("messages");
  const isDown = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  if (chat.messages.length === 1) list.replaceChildren();
  const elements = drawMessage(message, chat.messages.at(-2));
  elements.at(-1).classList.add("new");
  list.append(...elements);
  if (isDown) return goDown();
  below += 1;
  at("down").textContent = say.down(below);
  at("down").hidden = false;
}

function choose(id) {
  open = chats.has(id) ? id : null;
  drawChat();
  drawList();
}

const fromHash = () => decodeURIComponent(location.hash.slice(1));
addEventListener("hashchange", () => choose(fromHash()));
at("back").addEventListener("click", () => (location.hash = ""));
at("down").addEventListener("click", goDown);
at("messages").addEventListener("scroll", () => {
  const list = at("messages");
  if (below && list.scrollHeight - list.scrollTop - list.clientHeight < 80) goDown();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape") location.hash = "";
});

let fresh = true; // true until the first messages after a connect are shown
let order = 0;
const events = new EventSource("/page/events");
const tell = (isLive) => {
  at("live").textContent = isLive ? say.live : say.lost;
  at("live").classList.toggle("lost", !isLive);
};
events.addEventListener("open", () => tell(true));
events.addEventListener("error", () => tell(false));
events.addEventListener("hello", (event) => greet(JSON.parse(event.data).start));
events.addEventListener("chats", (event) => takeChats(JSON.parse(event.data)));
events.addEventListener("messages", (event) => takeMessages(JSON.parse(event.data)));
events.addEventListener("revoked", (event) => takeBack(JSON.parse(event.data)));

// After every connect all is told from the beginning.
function greet(run) {
  if (run !== start) seen = new Map();
  start = run;
  chats = new Map();
  fresh = true;
  order = 0;
}

function takeChats(told) {
  at("server").textContent = told.server;
  at("server").hidden = false;
  const known = chats;
  chats = new Map(told.chats.map((chat) => [chat.id, { messages: [], unread: 0, called: false, ...known.get(chat.id), ...chat }]));
  if (fresh) return told.chats.length || drawChat();
  if (!open) choose(fromHash());
  drawList();
}

function takeMessages(told) {
  for (const message of told) {
    const chat = chats.get(message.chat);
    if (!chat) continue;
    message.order = order++;
    chat.messages.push(message);
    if (message.chat === open && !fresh) {
      append(chat, message);
      markRead(chat);
    } else if (!message.news && message.seq > (seen.get(chat.id) ?? 0)) {
      chat.unread += 1;
      chat.called ||= message.html.includes('class="mention"');
    }
  }
  if (fresh) {
    fresh = false;
    const said = told.filter((message) => !message.news).at(-1);
    choose(open || fromHash() || (!isNarrow() && said?.chat));
  }
  drawList();
}

function takeBack(told) {
  const chat = chats.get(told.chat);
  const message = chat?.messages.find((message) => message.seq === told.seq);
  if (!message) return;
  message.kind = "revoked";
  if (told.chat === open) drawChat();
  drawList();
}

const now = JSON.parse(at("now").textContent);
greet(now.start);
takeChats(now.chats);
takeMessages(now.messages);
