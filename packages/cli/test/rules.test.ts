import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseRules } from '@weft/pipeline'
import { expect, test } from 'vitest'
import { loadConfig } from '../src/config.ts'
import { liveRules } from '../src/rules.ts'
import { temporary } from './spawned.ts'

const yaml = (name: string, raise: number | string) =>
  `rules:\n  - { name: ${name}, kind: threshold, raise: ${raise} }\n`

test('an edit of the rules is taken over, a broken one leaves the old ones and says so', async () => {
  await using folder = await temporary()
  const file = path.join(folder.path, 'weft.yaml')
  await writeFile(file, yaml('first', 0.5))
  const load = { cwd: folder.path, env: {}, checkRules: parseRules }
  const config = await loadConfig(load)
  const said: string[] = []
  let heard = Promise.withResolvers<void>()
  const hear = (text: string) => {
    said.push(text)
    heard.resolve()
    heard = Promise.withResolvers()
  }
  const log = { info: (_: unknown, text: string) => hear(text), error: (text: string) => hear(text) } as never
  using rules = liveRules(config, { parse: parseRules, load, log, everyMs: 20 })
  expect(rules.current().map(rule => rule.name)).toEqual(['first'])

  let next = heard.promise
  await writeFile(file, yaml('second', 0.6))
  await next
  expect(rules.current().map(rule => rule.name)).toEqual(['second'])

  next = heard.promise
  await writeFile(file, yaml('third', '"high"'))
  await next
  expect(rules.current().map(rule => rule.name)).toEqual(['second'])
  expect(said[1]).toMatch(/^the old alert rules stay: wrong configuration in [^\n]*\n.*raise: is "high"/)
})

test('a file that is emptied leaves the rules, an empty list ends them', async () => {
  await using folder = await temporary()
  const file = path.join(folder.path, 'weft.yaml')
  await writeFile(file, yaml('first', 0.5))
  const load = { cwd: folder.path, env: {}, checkRules: parseRules }
  let heard = Promise.withResolvers<string>()
  const hear = (text: string) => heard.resolve(text)
  const log = { info: (_: unknown, text: string) => hear(text), error: hear } as never
  using rules = liveRules(await loadConfig(load), { parse: parseRules, load, log, everyMs: 20 })
  await writeFile(file, '')
  expect(await heard.promise).toMatch(/^the old alert rules stay: .* has no rules; an empty list ends them$/)
  expect(rules.current().length).toBe(1)
  heard = Promise.withResolvers()
  await writeFile(file, 'rules: []')
  expect(await heard.promise).toMatch(/these hold now$/)
  expect(rules.current()).toEqual([])
})
