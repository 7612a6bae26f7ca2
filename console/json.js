// Parses JSON text (RFC 8259) into a tree and prints it again, without loss: JSON.parse would round numbers.
//
//   JSON                          in the tree
//   null, true, false, strings    unchanged
//   numbers                       Digits, which have the text
//   arrays                        Array
//   objects                       Map, which keeps the order of members and allows any name
//   no value                      undefined, which no JSON text stands for

/** How deep arrays and objects may be nested, in levels. The service has the same limit. */
export const MAX_DEPTH_LEVELS = 128;

/** A number, as the text that was written. */
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

/** Parses a JSON text; throws a SyntaxProblem. A repeated member gets the last value, at the position of the first. */
export function parse(text, maxDepthLevels = MAX_DEPTH_LEVELS) {
  return new Parser(text, maxDepthLevels, false).parse();
}

/** Parses a text that a person has typed. A repeated member is a problem in it: saving would lose one of its values. */
export function parseTyped(text) {
  return new Parser(text, MAX_DEPTH_LEVELS, true).parse();
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

const WHITESPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings must not contain them unescaped.
const UNESCAPED = /[^"\\\u0000-\u001f]*/y;
const WORD = /[A-Za-z0-9_$.+-]+/y;
const LITERALS = new Map([
  ["true", true],
  ["false", false],
  ["null", null],
]);
const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

class Parser {
  constructor(text, maxDepthLevels, refusesRepeated) {
    Object.assign(this, { text, at: 0, depth: 0, maxDepthLevels, refusesRepeated });
  }

  parse() {
    this.skipWhitespace();
    if (this.at === this.text.length) this.fail("the text is empty, and a JSON value is needed");
    const tree = this.value();
    this.skipWhitespace();
    if (this.at < this.text.length)
      this.fail(`nothing may follow the value, but ${characterName(this.text, this.at)} does`);
    return tree;
  }

  value() {
    const first = this.text[this.at];
    if (first === "{") return this.nested(() => this.object());
    if (first === "[") return this.nested(() => this.array());
    if (first === '"') return this.string();
    const start = this.at;
    const word = this.match(WORD);
    if (LITERALS.has(word)) return LITERALS.get(word);
    this.at = start;
    if (word === "")
      this.fail(
        first === undefined
          ? "the text ends where a value is expected"
          : `a value is expected, not ${characterName(this.text, start)}`,
      );
    const digits = this.match(NUMBER);
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
    this.skipWhitespace();
    if (this.consume("]")) return items;
    for (;;) {
      this.skipWhitespace();
      items.push(this.value());
      if (!this.hasNext("]")) return items;
    }
  }

  object() {
    const members = new Map();
    this.skipWhitespace();
    if (this.consume("}")) return members;
    for (;;) {
      this.skipWhitespace();
      if (this.text[this.at] !== '"') this.fail("the name of a member is expected, in double quotes");
      const start = this.at;
      const name = this.string();
      if (this.refusesRepeated && members.has(name)) {
        this.at = start;
        this.fail(
          `the member ${JSON.stringify(name)} appears twice in this object, and only one can be saved`,
        );
      }
      this.skipWhitespace();
      if (!this.consume(":")) this.fail("a colon is expected after the name of a member");
      this.skipWhitespace();
      members.set(name, this.value());
      if (!this.hasNext("}")) return members;
    }
  }

  hasNext(end) {
    this.skipWhitespace();
    if (this.consume(",")) return true;
    if (this.consume(end)) return false;
    return this.fail(`a comma or ${end} is expected`);
  }

  string() {
    const start = this.at;
    this.at += 1;
    let string = "";
    for (;;) {
      string += this.match(UNESCAPED);
      if (this.consume('"')) break;
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

  match(pattern) {
    pattern.lastIndex = this.at;
    const matched = pattern.exec(this.text)?.[0] ?? "";
    this.at += matched.length;
    return matched;
  }

  skipWhitespace() {
    if (this.text.charCodeAt(this.at) <= 0x20) this.match(WHITESPACE);
  }

  consume(character) {
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  fail(reason) {
    throw new SyntaxProblem(reason, this.text, this.at);
  }
}

// An invisible character is named by its code point.
function characterName(text, at) {
  const point = text.codePointAt(at);
  const character = String.fromCodePoint(point);
  if (/[\p{L}\p{M}\p{N}\p{P}\p{S}]/u.test(character)) return character;
  return `U+${point.toString(16).toUpperCase().padStart(4, "0")}${point === 0xfeff ? " (a byte order mark)" : ""}`;
}

/** Whether a text has no unpaired surrogate. */
export function isWellFormed(text) {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

/** The tree on one line, as the service stores it. */
export function compact(tree) {
  if (tree instanceof Digits) return tree.text;
  if (Array.isArray(tree)) return `[${tree.map(compact).join(",")}]`;
  if (tree instanceof Map) {
    const members = [...tree].map(([name, member]) => `${JSON.stringify(name)}:${compact(member)}`);
    return `{${members.join(",")}}`;
  }
  return JSON.stringify(tree);
}

/** The start of the compact text, with at least this many characters. Does not visit the rest of a large tree. */
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

/** The tree on several lines, indented by two spaces per level. */
export function pretty(tree) {
  return prettyFrom(tree, "\n");
}

// For large values this is several times as fast as prettyWithPlaces().
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

/** A longer value is shown in filled lines: with 20,000 lines, browsers need 100 ms or more per keystroke. In UTF-16 units. */
const LARGE_CHARACTERS = 30_000;
/** The length of a filled line, without its indent. In UTF-16 units. */
const FILLED_LINE = 240;

/** The text that an editor shows for a tree: pretty, or, if the value is large, in filled lines. */
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
    const fits = piece !== undefined && length <= room;
    text += `${comma}${fits ? " " : inner}${before}${piece ?? filled(member, inner)}`;
    room = piece === undefined ? 0 : (fits ? room : FILLED_LINE) - length;
    comma = ",";
  }
  return `${text}${lineStart}${isArray ? "]" : "}"}`;
}

/** The tree on one line with spaces, or undefined if that has more than `room` characters. */
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

/** The pretty text, and the lines of each member, [first, last] from 0, by its pointer. */
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

/** The pointer (RFC 6901) of a member of the object at a pointer. */
export function child(pointer, name) {
  return `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** Whether two trees are equal: numbers by their digits, objects regardless of the order of members. */
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
