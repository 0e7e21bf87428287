import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { bytes, text } from '../message.ts'
import type { Guarantees, Message, Received, Topic, Transport } from '../transport.ts'
import type { Child } from './child.ts'
import { account, counting, faultless, isPoison } from './counting.ts'
import type { Cases } from './fixture.ts'
import { bodyOf, byKey, contents, isMark, keyOf, message, numbered, random, settled, until } from './observe.ts'
import { now } from './programs/clock.ts'

/**
 * Real processes, killed with SIGKILL at random points. WEFT_SEED repeats the points of a run as far as clocks allow;
 * WEFT_ROUNDS=10 kills ten times as often.
 */
export function crash(test: Cases, guarantees: Guarantees) {
  const seed = Number(process.env.WEFT_SEED ?? Math.floor(Math.random() * 2 ** 31))
  const chance = random(seed)
  const rounds = Number(process.env.WEFT_ROUNDS ?? 1)
  const timeout = 120_000 * rounds

  describe(`SIGKILL at random points (WEFT_SEED=${seed})`, () => {
    test('loses nothing that append acknowledged, doubles nothing, and keeps the order', { timeout }, async ({
      transport,
      create,
      spawn,
    }) => {
      const topic = await create()
      const appenders: Child[] = []
      for (let round = 0; round < 5 * rounds; round++) {
        const appender = spawn('appender', { topic, round, seed: seed + round })
        appenders.push(appender)
        await kill(appender, 'acknowledged', 300)
        await check()
      }

      async function check() {
        const found = await contents(transport, topic)
        const values = new Set(found.map(bodyOf))
        const lost: string[] = []
        expect(values.size).toBe(found.length)
        for (const [round, appender] of appenders.entries()) {
          for (const [first, count] of appender.of('acknowledged') as [number, number][]) {
            for (let n = first; n < first + count; n++) if (!values.has(`${round}.${n}`)) lost.push(`${round}.${n}`)
          }
        }
        expect(lost).toEqual([])
        for (const order of byKey(found).values()) {
          const places = order.map(value => value.split('.').map(Number) as [number, number])
          expect(places).toEqual(places.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]))
        }
      }
    })

    test('handles everything at least once, keys in order over every hand-over', { timeout }, async ({
      transport,
      create,
      fresh,
      spawn,
    }) => {
      const [topic, group] = [await create(), fresh('group')]
      await using feed = feeding(transport, topic, group)
      const members = [spawn('member', { topic, group }), spawn('member', { topic, group })]
      for (let round = 0; round < 5 * rounds; round++) {
        await kill(members[round] as Child, 'handled', 400)
        members.push(spawn('member', { topic, group }))
      }
      const sent = await feed.end()
      const own: [event: string, value: string, at: number][] = []
      await using _ = await transport.subscribe(topic, { group }, each => {
        if (!isMark(each)) own.push(['begun', bodyOf(each), now()], ['handled', bodyOf(each), now()])
      })
      await settled(transport, group)
      for (const member of members) await member.kill()

      const [begun, handled] = [new Map<string, number>(), new Map<string, number>()]
      const told = [...own, ...members.flatMap(member => member.told as typeof own)]
      for (const [event, value, at] of told) {
        const first = event === 'begun' ? begun : handled
        if (event === 'begun' || event === 'handled')
          first.set(value, Math.min(at, first.get(value) ?? Number.POSITIVE_INFINITY))
      }
      expect(sent.map(bodyOf).filter(value => !handled.has(value))).toEqual([])
      const early = [...byKey(sent).values()].flatMap(values =>
        values.filter(
          (value, i) => i > 0 && (begun.get(value) as number) < (handled.get(values[i - 1] as string) as number),
        ),
      )
      expect(early).toEqual([])
    })

    if (guarantees.exactlyOnce) {
      test('transacts exactly once: outputs, dead letters and state', { timeout }, async ({
        transport,
        create,
        fresh,
        spawn,
      }) => {
        const [input, output, group] = [await create(), await create(), fresh('group')]
        await using feed = feeding(transport, input, group)
        await using watcher = watching(transport, output)
        const counters = [spawn('counter', { input, output, group }), spawn('counter', { input, output, group })]
        for (let round = 0; round < 7 * rounds; round++) {
          // Every third one anywhere in its life, also before it has joined.
          await kill(counters[round] as Child, round % 3 === 2 ? undefined : 'counted', 400)
          counters.push(spawn('counter', { input, output, group }))
        }
        const sent = await feed.end()
        await Promise.all(counters.slice(-2).map(counter => kill(counter, 'joined', 100)))
        const state = new Map<string, number>()
        const count = counting(output, isPoison)
        const retry = { maxAttempts: 2, minMs: 1, maxMs: 5 }
        await using _ = await transport.transact([input], { group, retry }, async (batch, transaction) => {
          await count(batch, transaction)
          for (const [key, value] of transaction.range('counts', bytes(''), Uint8Array.of(255)))
            state.set(text(key), Number(text(value)))
        })
        // One more of each key, so that each partition's state is seen by its last transaction.
        await transport.append(input, numbered(10, 10, 1_000_001))
        sent.push(...numbered(10, 10, 1_000_001))
        await settled(transport, group)

        const good = sent.filter(each => !isPoison(bodyOf(each)))
        expect(account(good, await contents(transport, output))).toEqual(faultless)
        // Whoever watched all the time saw nothing else: nothing that came and went, nothing twice.
        await until('the watcher has seen all', () => watcher.seen.length >= good.length)
        expect(account(good, watcher.seen)).toEqual(faultless)
        const letters = (await contents(transport, { name: `${input.name}.dlq` })).map(bodyOf)
        expect(letters.sort()).toEqual(sent.map(bodyOf).filter(isPoison).sort())
        expect(state).toEqual(new Map([...byKey(good)].map(([key, values]) => [key, values.length])))
      })

      test('transacts exactly once while its owners fall asleep and wake up again', { timeout }, async ({
        cluster,
        transport,
        create,
        fresh,
        spawn,
      }) => {
        const [input, output, group] = [await create(), await create(), fresh('group')]
        await using feed = feeding(transport, input, group)
        const counters = [spawn('counter', { input, output, group }), spawn('counter', { input, output, group })]
        for (let round = 0; round < 3 * rounds; round++) {
          const counter = counters[round % 2] as Child
          await counter.first('counted')
          // Long enough for the others to take over, then back among them.
          await counter.sleep(cluster.sessionMs * (1 + chance()))
        }
        const sent = await feed.end()
        await settled(transport, group)
        for (const counter of counters) {
          counter.say('leave')
          await counter.ended()
        }
        const good = sent.filter(each => !isPoison(bodyOf(each)))
        expect(account(good, await contents(transport, output))).toEqual(faultless)
        const letters = (await contents(transport, { name: `${input.name}.dlq` })).map(bodyOf)
        expect(letters.sort()).toEqual(sent.map(bodyOf).filter(isPoison).sort())
      })

      for (const [fault, early] of [
        ['doubled', false],
        ['missing', true],
      ] as const) {
        test(`finds what is ${fault} by a loop that acknowledges ${early ? 'before' : 'after'} its work, or all this would prove nothing`, {
          timeout,
        }, async ({ transport, create, fresh, spawn }) => {
          const [input, output, group] = [await create(), await create(), fresh('group')]
          const sent: Message[] = []
          let faults = faultless
          for (let round = 0; round < 30 && faults[fault].length === 0; round++) {
            const messages = numbered(500, 250, sent.length)
            sent.push(...messages)
            await transport.append(input, messages)
            await kill(spawn('naive', { input, output, group, early, seed: seed + round }), 'counted', 100)
            await using _ = await transport.subscribe(input, { group }, async each => {
              await transport.append(output, [message(keyOf(each), `${bodyOf(each)}:0`)])
            })
            await settled(transport, group)
            faults = account(sent, await contents(transport, output))
          }
          expect(faults[fault].length).toBeGreaterThan(0)
        })
      }
    }

    if (guarantees.appendOnce) {
      test('writes each sequence once, without a gap, from where it says it resumes', { timeout }, async ({
        transport,
        create,
        fresh,
        spawn,
      }) => {
        const [topic, own] = [await create(), fresh('writer')]
        let written = 0
        for (let round = 0; round < 6 * rounds; round++) {
          const writer = spawn('writer', { topic, writer: own, seed: seed + round })
          const [resumed] = await writer.first('resumed')
          expect(Number(resumed)).toBeGreaterThanOrEqual(written)
          // Every second one is not dead but replaced while it writes.
          if (round % 2) await takeOver(writer, round)
          else await kill(writer, 'written', 300)
          written = Math.max(written, ...writer.of('written').map(([sequence]) => Number(sequence)))
          const found = (await contents(transport, topic)).map(bodyOf).map(Number)
          expect(found.toSorted((a, b) => a - b)).toEqual(Array.from({ length: found.length }, (_, i) => i + 1))
          expect(found.length).toBeGreaterThanOrEqual(written)
        }
        for (const values of byKey(await contents(transport, topic)).values()) {
          expect(values.map(Number)).toEqual(values.map(Number).toSorted((a, b) => a - b))
        }

        async function takeOver(writer: Child, round: number) {
          await writer.first('written')
          const next = spawn('writer', { topic, writer: own, seed: seed - round })
          expect(await writer.first('refused')).toContain('FENCED')
          const [resumed] = await next.first('resumed')
          const before = Math.max(...writer.of('written').map(([sequence]) => Number(sequence)))
          expect(Number(resumed)).toBeGreaterThanOrEqual(before)
          await kill(next, 'written', 200)
          written = Math.max(written, ...next.of('written').map(([sequence]) => Number(sequence)))
        }
      })
    }
  })

  /** Kills a program at a random point within `ms` milliseconds after it began to do what it does, or after its start. */
  async function kill(child: Child, begins: string | undefined, ms: number) {
    if (begins) await child.first(begins)
    await sleep(chance() * ms)
    await child.kill()
  }

  /** Reads all the time what others write. */
  function watching(transport: Transport, topic: Topic) {
    const seen: Received[] = []
    const stop = new AbortController()
    const reading = (async () => {
      for await (const batch of transport.read(topic, { from: 'earliest', signal: stop.signal }))
        seen.push(...batch.filter(each => !isMark(each)))
    })()
    const end = async () => {
      stop.abort()
      await reading
    }
    return { seen, [Symbol.asyncDispose]: end }
  }

  /** Appends numbers while a group works on them, never far ahead of it, until it is ended. */
  function feeding(transport: Transport, topic: Topic, group: string) {
    const sent: Message[] = []
    let going = true
    const working = (async () => {
      while (going) {
        const lags = await transport.admin.groups()
        const left = lags.reduce((sum, each) => sum + (each.group === group ? each.lag : 0), 0)
        if (left < 500) {
          const messages = numbered(20, 10, sent.length)
          sent.push(...messages)
          await transport.append(topic, messages)
        }
        await sleep(5)
      }
    })()
    const end = async () => {
      going = false
      await working
      return sent
    }
    return { sent, end, [Symbol.asyncDispose]: async () => void (await end()) }
  }
}
