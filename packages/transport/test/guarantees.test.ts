import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')

test.for(['guarantees.md', 'writing-a-transport.md'])('docs/%s names only cases that the suite has', document => {
  const suite = '../src/conformance/'
  const sources = readdirSync(new URL(suite, import.meta.url)).filter(file => file.endsWith('.ts'))
  const text = sources.map(file => read(suite + file)).join('\n')
  const named = [...read(`../../../docs/${document}`).matchAll(/“([^”]+)”/g)].map(([, name = '']) =>
    name.replace(/\s+/g, ' '),
  )
  expect(named.length).toBeGreaterThan(5)
  expect(named.filter(name => !text.includes(name))).toEqual([])
})
