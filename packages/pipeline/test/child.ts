/** A pipeline, or a worker that appends without a transaction, over the store of an embedded URL, until it is killed. */
import { loadCatalogue } from '@weft/schema'
import { open } from '@weft/transport'
import { loadScorer, parseRules, startPipeline } from '../src/index.ts'
import { rulesOfCrash } from './store.ts'

const [url = '', mode = ''] = process.argv.slice(2)
const catalogue = await loadCatalogue()
const transport = await open(url)

if (mode === 'pipeline') {
  const quiet = { info() {}, warn() {}, error() {} }
  const rules = parseRules(rulesOfCrash)
  await startPipeline({
    transport,
    catalogue,
    scorer: await loadScorer(),
    rules: () => rules,
    interventions: [{ rule: 'lost', type: 'email', cooldownMs: 60_000 }],
    graceMs: 500,
    tickMs: 100,
    log: quiet,
  })
} else {
  const raw = catalogue.codec('events.raw.v1')
  const validated = catalogue.codec('events.validated.v1')
  await transport.subscribe({ name: 'events.raw.v1' }, { group: 'without-transaction' }, async message => {
    const event = raw.decode(message)
    const value = { ...event, validated_at: event.received_at, schema_version: '1' }
    await transport.append({ name: 'events.validated.v1' }, [validated.message(value, { time: message.time })])
  })
}
process.send?.('ready')
