/** RFC 8259, 7: anything but quote, backslash and control characters, or an escape. */
const STRING = String.raw`"(?:[ !#-\[\]-\u{10ffff}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"`

/** Where and why a text is not JSON; undefined if it is. Walks without recursion, so depth cannot overflow it. */
export function findJsonFault(
  text: string,
): { offset: number; line: number; column: number; expected: string } | undefined {
  const open: ('{' | '[')[] = []
  let at = 0
  let expected = 'a value'
  const space = /[ \t\r\n]*/y
  const scalar = new RegExp(`${STRING}|-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?|true|false|null`, 'uy')
  const key = new RegExp(`${STRING}[ \\t\\r\\n]*:`, 'uy')
  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = at
    const found = pattern.test(text)
    if (found) at = pattern.lastIndex
    return found
  }
  // What may come next: a value, a key (both, after an opening bracket, may be its close), or what follows a value.
  let next: 'value' | 'first-value' | 'key' | 'first-key' | 'after' = 'value'
  for (;;) {
    take(space)
    const char = text[at]
    if (next === 'after') {
      const inside = open.at(-1)
      if (inside === undefined) {
        if (at === text.length) return undefined
        return fault(text, at, 'the end')
      }
      const close = inside === '{' ? '}' : ']'
      expected = `"," or "${close}"`
      if (char === ',') next = inside === '{' ? 'key' : 'value'
      else if (char === close) open.pop()
      else return fault(text, at, expected)
      at++
    } else if (next === 'key' || next === 'first-key') {
      if (next === 'first-key' && char === '}') {
        at++
        open.pop()
        next = 'after'
      } else if (take(key)) next = 'value'
      else return fault(text, at, next === 'key' ? 'a key in quotes and ":"' : 'a key in quotes and ":", or "}"')
    } else if (next === 'first-value' && char === ']') {
      at++
      open.pop()
      next = 'after'
    } else if (char === '{' || char === '[') {
      at++
      open.push(char)
      next = char === '{' ? 'first-key' : 'first-value'
    } else if (take(scalar)) next = 'after'
    else return fault(text, at, char === '"' ? 'a string that ends, its control characters escaped,' : 'a value')
  }
}

function fault(text: string, offset: number, expected: string) {
  const before = text.slice(0, offset)
  const line = before.split('\n').length
  return { offset, line, column: offset - before.lastIndexOf('\n'), expected }
}

/** `at line 1, column 16: expected "," or "}" but found "x"`. */
export function describeJsonFault(text: string): string {
  const found = findJsonFault(text)
  if (!found) return 'cannot be read'
  const { offset, line, column, expected } = found
  const what = offset >= text.length ? 'the end' : JSON.stringify(String.fromCodePoint(text.codePointAt(offset) ?? 0))
  return `at line ${line}, column ${column}: expected ${expected} but found ${what}`
}
