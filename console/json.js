// JSON text (RFC 8259) <-> tree, without losing what the text said: JSON.parse would round numbers.
//
//   null, true, false, strings    as they are
//   numbers                       Digits, which hold the text
//   arrays                        Array
//   objects                       Map, so that the order of members and any name survive
//   absent                        undefined, which no text means

/** How deep the service lets arrays and objects be nested, in levels. */
export const MAX_DEPTH_LEVELS = 128;

/** A number as it was written. */
export class Digits {
  constructor(text) {
    this.text = text;
  }
}

/** Why a text is not JSON, and where: line and column count from 1, in characters. */
export class SyntaxProblem extends Error {
  constructor(reason, text, offset) {
    const before = text.slice(0, offset);
    const line = before.split("\n").length;
    const column = [...before.slice(before.lastIndexOf("\n") + 1)].length + 1;
    super(`${reason}, at line ${line} column ${column}`);
    Object.assign(this, { reason, offset, line, column });
  }
}

/** Reads one JSON text; throws a SyntaxProblem. Of a repeated member the last value stands, in the place of the first. */
export function parse(text, maxDepthLevels = MAX_DEPTH_LEVELS) {
  return new Reader(text, maxDepthLevels, false).all();
}

/** The same for a text that a person has typed, in which a repeated member is a problem: saving would drop one of the two. */
export function parseTyped(text) {
  return new Reader(text, MAX_DEPTH_LEVELS, true).all();
}

/** The tree of a typed text, or undefined if it has a problem. */
export function parseOrNothing(text) {
  try {
    return parseTyped(text);
  } catch {
    return undefined;
  }
}

/** Why a typed text cannot be saved, or null. */
export function problemOf(text) {
  try {
    parseTyped(text);
    return null;
  } catch (problem) {
    if (!(problem instanceof SyntaxProblem)) throw problem;
    return problem;
  }
}

const WHITE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings must not contain them unescaped.
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const WORD = /[A-Za-z0-9_$.+-]+/y;
const WORDS = new Map([
  ["true", true],
  ["false", false],
  ["null", null],
]);
const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

class Reader {
  constructor(text, maxDepthLevels, isDistinct) {
    Object.assign(this, { text, at: 0, depth: 0, maxDepthLevels, isDistinct });
  }

  all() {
    this.skip();
    if (this.at === this.text.length) this.fail("the text is empty, and a JSON value is needed");
    const tree = this.value();
    this.skip();
    if (this.at < this.text.length)
      this.fail(`nothing may follow the value, but ${shown(this.text, this.at)} does`);
    return tree;
  }

  value() {
    const first = this.text[this.at];
    if (first === "{") return this.nested(() => this.object());
    if (first === "[") return this.nested(() => this.array());
    if (first === '"') return this.string();
    const start = this.at;
    const word = this.take(WORD);
    if (WORDS.has(word)) return WORDS.get(word);
    this.at = start;
    if (word === "")
      this.fail(
        first === undefined
          ? "the text ends where a value is expected"
          : `a value is expected, not ${shown(this.text, start)}`,
      );
    const digits = this.take(NUMBER);
    this.at = start;
    if (digits !== word)
      this.fail(
        /^[-+.0-9]/.test(word) ? `${word} is not a number in JSON` : `${word} is not a value in JSON`,
      );
    this.at += digits.length;
    return new Digits(digits);
  }

  nested(read) {
    this.depth += 1;
    if (this.depth > this.maxDepthLevels) this.fail(`nested deeper than ${this.maxDepthLevels} levels`);
    this.at += 1;
    const tree = read();
    this.depth -= 1;
    return tree;
  }

  array() {
    const items = [];
    this.skip();
    if (this.eat("]")) return items;
    for (;;) {
      this.skip();
      items.push(this.value());
      if (!this.goesOn("]")) return items;
    }
  }

  object() {
    const members = new Map();
    this.skip();
    if (this.eat("}")) return members;
    for (;;) {
      this.skip();
      if (this.text[this.at] !== '"') this.fail("the name of a member is expected, in double quotes");
      const start = this.at;
      const name = this.string();
      if (this.isDistinct && members.has(name)) {
        this.at = start;
        this.fail(
          `the member ${JSON.stringify(name)} appears twice in this object, and only one can be saved`,
        );
      }
      this.skip();
      if (!this.eat(":")) this.fail("a colon is expected after the name of a member");
      this.skip();
      members.set(name, this.value());
      if (!this.goesOn("}")) return members;
    }
  }

  goesOn(end) {
    this.skip();
    if (this.eat(",")) return true;
    if (this.eat(end)) return false;
    return this.fail(`a comma or ${end} is expected`);
  }

  string() {
    const start = this.at;
    this.at += 1;
    let string = "";
    for (;;) {
      string += this.take(PLAIN);
      if (this.eat('"')) break;
      if (this.at >= this.text.length) {
        this.at = start;
        this.fail("this string has no closing quote");
      }
      if (this.text[this.at] !== "\\")
        this.fail("a line break or control character in a string must be written as an escape");
      string += this.escape();
    }
    if (!isWellFormed(string)) {
      this.at = start;
      this.fail("this string has an unpaired surrogate");
    }
    return string;
  }

  escape() {
    const letter = this.text[this.at + 1];
    if (letter === "u") {
      const digits = this.text.slice(this.at + 2, this.at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail("\\u needs four hexadecimal digits");
      this.at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    if (letter === undefined || !Object.hasOwn(ESCAPES, letter)) this.fail("not an escape in JSON");
    this.at += 2;
    return ESCAPES[letter];
  }

  take(pattern) {
    pattern.lastIndex = this.at;
    const taken = pattern.exec(this.text)?.[0] ?? "";
    this.at += taken.length;
    return taken;
  }

  skip() {
    if (this.text.charCodeAt(this.at) <= 0x20) this.take(WHITE);
  }

  eat(character) {
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  fail(reason) {
    throw new SyntaxProblem(reason, this.text, this.at);
  }
}

// A character that cannot be seen is named by its number.
function shown(text, at) {
  const point = text.codePointAt(at);
  const character = String.fromCodePoint(point);
  if (/[\p{L}\p{M}\p{N}\p{P}\p{S}]/u.test(character)) return character;
  return `U+${point.toString(16).toUpperCase().padStart(4, "0")}${point === 0xfeff ? " (a byte order mark)" : ""}`;
}

/** Whether a text has no unpaired surrogate. */
export function isWellFormed(text) {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

/** The tree on one line, as the service keeps it. */
export function compact(tree) {
  if (tree instanceof Digits) return tree.text;
  if (Array.isArray(tree)) return `[${tree.map(compact).join(",")}]`;
  if (tree instanceof Map) {
    const members = [...tree].map(([name, member]) => `${JSON.stringify(name)}:${compact(member)}`);
    return `{${members.join(",")}}`;
  }
  return JSON.stringify(tree);
}

/** As much of the compact text as makes this many characters, and perhaps more. The rest of a large tree is not looked at. */
export function compactStart(tree, characters) {
  const isArray = Array.isArray(tree);
  if (!isArray && !(tree instanceof Map))
    return compact(typeof tree === "string" ? tree.slice(0, characters) : tree);
  let text = isArray ? "[" : "{";
  for (const [name, member] of isArray ? tree.entries() : tree) {
    if (text.length >= characters) return text;
    if (text.length > 1) text += ",";
    if (!isArray) text += `${JSON.stringify(name)}:`;
    text += compactStart(member, characters - text.length);
  }
  return `${text}${isArray ? "]" : "}"}`;
}

/** The tree over several lines, two spaces a level. */
export function pretty(tree) {
  return prettyFrom(tree, "\n");
}

// For large values this is several times as fast as to note the places, too.
function prettyFrom(part, lineStart) {
  const isArray = Array.isArray(part);
  if (!(isArray ? part.length > 0 : part instanceof Map && part.size > 0)) return compact(part);
  const inner = `${lineStart}  `;
  let text = isArray ? "[" : "{";
  let comma = "";
  if (isArray) {
    for (const item of part) {
      text += `${comma}${inner}${prettyFrom(item, inner)}`;
      comma = ",";
    }
  } else {
    for (const [name, member] of part) {
      text += `${comma}${inner}${JSON.stringify(name)}: ${prettyFrom(member, inner)}`;
      comma = ",";
    }
  }
  return `${text}${lineStart}${isArray ? "]" : "}"}`;
}

/** From here on a value is shown in filled lines: browsers take 100 ms and more per key for some 20,000 lines. In UTF-16 units. */
const LARGE_CHARACTERS = 30_000;
/** How long a filled line gets, without its indent. In UTF-16 units. */
const FILLED_LINE = 240;

/** The text that an editor shows of a tree: pretty, or, of a large value, in filled lines. */
export function formatted(tree) {
  return onOneLine(tree, LARGE_CHARACTERS) === undefined ? filled(tree, "\n") : pretty(tree);
}

function filled(part, lineStart) {
  const whole = onOneLine(part, FILLED_LINE);
  if (whole !== undefined) return whole;
  const isArray = Array.isArray(part);
  if (!isArray && !(part instanceof Map)) return compact(part);
  const inner = `${lineStart}  `;
  let text = isArray ? "[" : "{";
  let room = 0;
  let comma = "";
  for (const [name, member] of isArray ? part.entries() : part) {
    const before = isArray ? "" : `${JSON.stringify(name)}: `;
    const piece = onOneLine(member, FILLED_LINE);
    const length = before.length + (piece ?? "").length + 2;
    const goesOn = piece !== undefined && length <= room;
    text += `${comma}${goesOn ? " " : inner}${before}${piece ?? filled(member, inner)}`;
    room = piece === undefined ? 0 : (goesOn ? room : FILLED_LINE) - length;
    comma = ",";
  }
  return `${text}${lineStart}${isArray ? "]" : "}"}`;
}

/** The tree on one line with spaces, or undefined if that has more characters than there is room for. */
export function onOneLine(part, room) {
  const isArray = Array.isArray(part);
  if (!isArray && !(part instanceof Map)) {
    if (typeof part === "string" && part.length > room) return undefined;
    const text = compact(part);
    return text.length > room ? undefined : text;
  }
  let text = isArray ? "[" : "{";
  for (const [name, member] of isArray ? part.entries() : part) {
    if (text.length > 1) text += ", ";
    if (!isArray) text += `${JSON.stringify(name)}: `;
    const piece = text.length > room ? undefined : onOneLine(member, room - text.length);
    if (piece === undefined) return undefined;
    text += piece;
  }
  return text.length + 1 > room ? undefined : `${text}${isArray ? "]" : "}"}`;
}

/** The same text, with the lines (from 0, first and last) where each member stands, by its pointer. */
export function prettyWithPlaces(tree) {
  const pieces = [];
  const places = new Map();
  let line = 0;
  const newLine = (depth) => {
    pieces.push("\n", "  ".repeat(depth));
    line += 1;
  };
  const write = (part, pointer, depth) => {
    const first = line;
    const isArray = Array.isArray(part);
    if (isArray && part.length > 0) {
      pieces.push("[");
      part.forEach((item, index) => {
        if (index > 0) pieces.push(",");
        newLine(depth + 1);
        write(item, undefined, depth + 1);
      });
      newLine(depth);
      pieces.push("]");
    } else if (part instanceof Map && part.size > 0) {
      pieces.push("{");
      let comma = false;
      for (const [name, member] of part) {
        if (comma) pieces.push(",");
        comma = true;
        newLine(depth + 1);
        pieces.push(JSON.stringify(name), ": ");
        write(member, pointer === undefined ? undefined : child(pointer, name), depth + 1);
      }
      newLine(depth);
      pieces.push("}");
    } else {
      pieces.push(compact(part));
    }
    if (pointer !== undefined) places.set(pointer, [first, line]);
  };
  write(tree, "", 0);
  return { text: pieces.join(""), places };
}

/** The pointer (RFC 6901) of a member below another. */
export function child(pointer, name) {
  return `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** Whether two trees say the same: numbers by their digits, objects whatever the order of members. */
export function same(one, other) {
  if (one instanceof Digits) return other instanceof Digits && one.text === other.text;
  if (Array.isArray(one)) {
    return (
      Array.isArray(other) &&
      one.length === other.length &&
      one.every((item, index) => same(item, other[index]))
    );
  }
  if (one instanceof Map) {
    if (!(other instanceof Map) || one.size !== other.size) return false;
    for (const [name, member] of one) {
      if (!other.has(name) || !same(member, other.get(name))) return false;
    }
    return true;
  }
  return one === other;
}
