import { type From, type Position, type Received, type Topic, type Transport, WeftError } from '@weft/transport'
import { EXIT, Exit } from './exit.ts'
import { milliseconds } from './output.ts'

/** What --from and --to take, for help texts. */
export const PLACES =
  'earliest, latest, a time (2026-11-21T07:00Z, 10m ago as "10m", epoch ms) or partitions with positions (0:15,3:22)'

/** INVALID usage for anything that is not a place in a topic. */
export function parsePlace(text: string, now = Date.now()): From {
  if (text === 'earliest' || text === 'latest') return text
  if (/^\d+:[^,:]+(,\d+:[^,:]+)*$/.test(text))
    return {
      after: text.split(',').map(each => {
        const [partition = '', at = ''] = each.split(':')
        return { partition: Number(partition), at }
      }),
    }
  const ago = milliseconds(text)
  const time = ago === undefined ? (/^\d{12,}$/.test(text) ? Number(text) : Date.parse(text)) : now - ago
  if (!Number.isFinite(time)) throw new Exit(EXIT.usage, `"${text}" is not a place in a topic: expected ${PLACES}`)
  return { time }
}

/** The partitions that a place speaks of: those of its positions, else undefined for all. */
export const partitionsOf = (place: From): readonly number[] | undefined =>
  typeof place === 'object' && 'after' in place ? place.after.map(({ partition }) => partition) : undefined

/** The last position of each partition before a place, the end of the log at the moment for `latest`. */
export async function endsAt(transport: Transport, topic: Topic, place: From): Promise<readonly Position[]> {
  const { end } = await transport.admin.describe(topic)
  if (place === 'latest') return end
  const asked = await transport.admin.positions(topic, place)
  return end.map((last, partition) => {
    const found = asked.find(each => each.partition === partition)
    return found && transport.compare(found, last) < 0 ? found : last
  })
}

/** Records of each partition after `from` up to and with its position in `ends`. */
export async function* spanOf(
  transport: Transport,
  topic: Topic,
  { from, ends, signal }: { from: From; ends: readonly Position[]; signal: AbortSignal },
): AsyncGenerator<readonly Received[]> {
  const partitions = partitionsOf(from)
  yield* transport.read(topic, { from, to: ends, signal, ...(partitions && { partitions }) })
}

/** The topic, if it is there; otherwise says which was meant. */
export async function existing(transport: Transport, name: string, known: Iterable<string>): Promise<Topic> {
  const { nearest } = await import('@weft/schema')
  const specs = await transport.admin.topics()
  const found = specs.find(({ topic }) => topic.name === name)
  if (found) return found.topic
  const names = specs.map(({ topic }) => topic.name)
  const meant = nearest(name, new Set([...names, ...known]))
  if (names.length === 0)
    throw new WeftError('NOT_FOUND', `there is no topic "${name}": this log has no topics yet, "weft dev" makes them`)
  throw new WeftError('NOT_FOUND', `there is no topic "${name}"${meant ? `, did you mean "${meant}"?` : ''}`)
}
