/** The control: the whole pipeline, where `transact` only appends, acknowledges, and forgets its state with its process. */
import { loadScorer, parseRules, startPipeline } from '@weft/pipeline'
import { loadCatalogue } from '@weft/schema'
import { type AppendOptions, type Message, open, type Running, type Topic, type Transport } from '@weft/transport'
import { parse } from 'yaml'
import { RULES } from './fabric.ts'

const log = await open(process.argv[2] ?? '')

/** Each message by itself, at least once; a partition's one after the other. */
const transact: Transport['transact'] = async (topics, { group }, process) => {
  const state = new Map<string, Uint8Array>()
  const queues = new Map<number, Promise<void>>()
  const signal = new AbortController().signal
  const members = await Promise.all(
    topics.map(topic =>
      log.subscribe(topic, { group, mode: 'key-shared' }, message => {
        const { partition } = message.position
        const work = async () => {
          const outputs: [Topic, readonly Message[], AppendOptions | undefined][] = []
          const nameOf = (store: string, key: Uint8Array) =>
            `${partition} ${store} ${Buffer.from(key).toString('latin1')}`
          await process([message], {
            partition,
            signal,
            append: (topic, messages, options) => void outputs.push([topic, messages, options]),
            get: (store, key) => state.get(nameOf(store, key)),
            set: (store, key, value) =>
              value ? state.set(nameOf(store, key), value) : state.delete(nameOf(store, key)),
            *range(store, from, to) {
              const [low, high, prefix] = [nameOf(store, from), nameOf(store, to), nameOf(store, new Uint8Array())]
              for (const name of [...state.keys()].filter(each => each >= low && each < high).sort())
                yield [Buffer.from(name.slice(prefix.length), 'latin1'), state.get(name) as Uint8Array]
            },
          })
          for (const [topic, messages, options] of outputs) await log.append(topic, messages, options)
        }
        const done = (queues.get(partition) ?? Promise.resolve()).then(work)
        queues.set(
          partition,
          done.catch(() => {}),
        )
        return done
      }),
    ),
  )
  const running: Running = {
    done: Promise.all(members.map(({ done }) => done)).then(() => {}),
    lag: async () => (await Promise.all(members.map(member => member.lag()))).flat(),
    async [Symbol.asyncDispose]() {
      for (const member of members) await member[Symbol.asyncDispose]()
    },
  }
  return running
}

const transport = new Proxy(log, {
  get(target, name) {
    if (name === 'transact') return transact
    const value = Reflect.get(target, name, target)
    return typeof value === 'function' ? value.bind(target) : value
  },
})
const rules = parseRules(parse(RULES).rules)
await startPipeline({
  transport,
  catalogue: await loadCatalogue(),
  scorer: await loadScorer(),
  rules: () => rules,
  tickMs: 250,
  log: { info() {}, warn() {}, error() {} },
})
console.log('{}')
