import { drive } from '@weft/pipeline'
import { expect, test } from 'vitest'
import { offerHelp } from '../stage.ts'

const start = Date.UTC(2026, 5, 1)
const look = (n: number, type = 'page_view') => ({
  event_id: `e${n}`,
  store_id: 'aurora',
  user_id: 'u1',
  session_id: 's1',
  type,
  payload: JSON.stringify({ elapsed_ms: n, page: 'product', product_id: `p${n}` }),
  sent_at: start + n * 60_000,
  received_at: start + n * 60_000,
})

test('a stage of one’s own offers help at the third look, once', async () => {
  const driven = drive(offerHelp)
  await driven.feed(look(1), look(2), look(3), look(4))
  expect(driven.written('interventions.commands.v1').map(command => command.source_event_id)).toEqual(['e3'])
})

test('a stage of one’s own leaves alone who puts something into the cart', async () => {
  const driven = drive(offerHelp)
  await driven.feed(look(1), look(2), look(3, 'add_to_cart'), look(4))
  expect(driven.written('interventions.commands.v1')).toEqual([])
})

test('a stage of one’s own forgets after ten minutes', async () => {
  const driven = drive(offerHelp)
  await driven.feed(look(1), look(2), look(13))
  expect(driven.written('interventions.commands.v1')).toEqual([])
})
