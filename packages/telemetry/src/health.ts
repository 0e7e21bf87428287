import type { Running } from '@weft/transport'

export interface Check {
  readonly ok: boolean
  /** Why, for whoever operates it; never sent to a client of the service. */
  readonly detail?: string
  /** Only a new start can help: `live` turns red as well as `ready`. */
  readonly fatal?: boolean
}

export type Probe = () => Promise<Check> | Check

export interface Report {
  readonly ok: boolean
  readonly checks: Readonly<Record<string, Check>>
}

/** What a process knows of itself. A probe that throws, or has no answer within `timeoutMs`, is red. */
export class Health {
  readonly #probes = new Map<string, Probe>()
  readonly #timeoutMs: number

  constructor({ timeoutMs = 2_000 }: { timeoutMs?: number } = {}) {
    this.#timeoutMs = timeoutMs
  }

  /** Returns what takes the probe away again. A name that is taken gets a number behind it. */
  add(name: string, probe: Probe): () => void {
    let free = name
    for (let n = 2; this.#probes.has(free); n++) free = `${name}-${n}`
    this.#probes.set(free, probe)
    return () => {
      if (this.#probes.get(free) === probe) this.#probes.delete(free)
    }
  }

  /** Green unless something only a new start can heal: for liveness probes. */
  async live(): Promise<Report> {
    const checks = await this.#ask()
    return { ok: Object.values(checks).every(check => check.ok || !check.fatal), checks }
  }

  /** Green if all is: for readiness probes. */
  async ready(): Promise<Report> {
    const checks = await this.#ask()
    return { ok: Object.values(checks).every(check => check.ok), checks }
  }

  async #ask(): Promise<Record<string, Check>> {
    const asked = [...this.#probes].map(async ([name, probe]) => [name, await this.#answer(probe)] as const)
    return Object.fromEntries(await Promise.all(asked))
  }

  async #answer(probe: Probe): Promise<Check> {
    const late = Promise.withResolvers<Check>()
    const timer = setTimeout(
      () => late.resolve({ ok: false, detail: `no answer within ${this.#timeoutMs} ms` }),
      this.#timeoutMs,
    )
    try {
      return await Promise.race([(async () => probe())(), late.promise])
    } catch (error) {
      return { ok: false, detail: error instanceof Error ? error.message : String(error) }
    } finally {
      clearTimeout(timer)
    }
  }
}

/**
 * A probe of a member at work: red, and fatal, when it has lag and settled nothing for `afterMs` while its oldest
 * message has waited as long, or when it ended with an error.
 */
export function stalled(running: Running, afterMs = 30_000, now: () => number = Date.now): Probe {
  let ended: Check | undefined
  running.done.then(
    () => {
      ended = { ok: true, detail: 'stopped' }
    },
    error => {
      ended = { ok: false, fatal: true, detail: `ended: ${error instanceof Error ? error.message : error}` }
    },
  )
  return async () => {
    if (ended) return ended
    const lag = await running.lag()
    const stuck = lag.filter(each => each.messages > 0 && each.ms >= afterMs && now() - each.movedAt >= afterMs)
    const behind = lag.reduce((sum, each) => sum + each.messages, 0)
    const restoring = lag.flatMap(each => (each.restoring ? [{ ...each, ...each.restoring }] : []))
    const restored = restoring.map(
      ({ topic, partition, done, of, since }) =>
        `${topic.name}/${partition} ${done} of ${of} in ${Math.round((now() - since) / 1000)} s`,
    )
    if (!stuck.length)
      return { ok: true, detail: `${behind} behind${restored.length ? `, restoring ${restored.join(', ')}` : ''}` }
    const where = stuck.map(each => `${each.topic.name}/${each.partition} (${each.messages} waiting)`).join(', ')
    return { ok: false, fatal: true, detail: `no progress for ${Math.round(afterMs / 1000)} s with lag: ${where}` }
  }
}
