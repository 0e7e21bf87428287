/** The control: validates without a transaction, so that a crash between append and acknowledgement shows. */
import { loadCatalogue } from '@weft/schema'
import { open } from '@weft/transport'
import { isTick } from '../../src/records.ts'

const catalogue = await loadCatalogue()
const transport = await open(process.argv[2] ?? '')
await transport.admin.ensure(catalogue.specs())
const raw = catalogue.codec('events.raw.v1')
const validated = catalogue.codec('events.validated.v1')
await transport.subscribe({ name: 'events.raw.v1' }, { group: 'naive' }, async message => {
  if (isTick(message)) return
  const event = raw.decode(message)
  const value = { ...event, validated_at: event.received_at, validated_by: 'naive', schema_version: '1' }
  const { key, time } = message
  await transport.append({ name: 'events.validated.v1' }, [validated.message(value, { ...(key && { key }), time })])
})
console.log('{}')
