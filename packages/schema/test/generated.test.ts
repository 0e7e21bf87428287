import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { loadCatalogue } from '../src/index.ts'
import { generateTopicsPage } from '../src/topics-page.ts'
import { generateTypes } from '../src/typescript.ts'

const text = (file: string) => readFile(new URL(file, import.meta.url), 'utf8')

test('the TypeScript types are those of the schemas', async () => {
  expect(await text('../src/events.generated.ts')).toBe(generateTypes(await loadCatalogue()))
})

test('docs/topics.md is that of the catalogue', async () => {
  expect(await text('../../../docs/topics.md')).toBe(generateTopicsPage(await loadCatalogue()))
})
