import { text } from '@weft/transport'
import { expect, test } from 'vitest'
import { entityKey, loadCatalogue } from '../src/index.ts'

test.each([
  [{ store_id: 'aurora', user_id: 'u1', session_id: 's1' }, 'aurora:u1'],
  [{ store_id: 'aurora', user_id: null, session_id: 's1' }, 'aurora:s1'],
  [{ store_id: 'aurora' }, 'aurora:'],
  [{ store_id: 'aurora', user_id: '', session_id: 's1' }, 'aurora:'],
])('the entity of %o is %s', (event, key) => {
  expect(entityKey(event)).toBe(key)
})

test('the catalogue keys scores by the same entity', async () => {
  const codec = (await loadCatalogue()).codec('features.latest.v1')
  for (const session_id of ['s1', null]) {
    for (const user_id of ['u1', '', null]) {
      const value = { store_id: 'aurora', user_id, session_id, updated_at: 0 }
      expect(text(codec.key(value))).toBe(entityKey(value))
    }
  }
})
