import type { Connection } from './connection.ts'
import { type Filter, filterKey, matches } from './filter.ts'
import type { Frame } from './frame.ts'
import type { Wire } from './wire.ts'

/** All live connections that want the same alerts: what is sent to them is put together once for each protocol. */
export class Channel {
  readonly filter: Filter
  readonly key: string
  /** Connections that hold on to the channel, live or not. */
  holders = 0
  readonly live = new Map<Wire, Set<Connection>>()
  pending: Frame[] = []
  pendingBytes = 0

  constructor(filter: Filter, key: string) {
    this.filter = filter
    this.key = key
  }

  enter(connection: Connection): void {
    const same = this.live.get(connection.wire)
    if (same) same.add(connection)
    else this.live.set(connection.wire, new Set([connection]))
  }

  leave(connection: Connection): void {
    const same = this.live.get(connection.wire)
    if (same?.delete(connection) && same.size === 0) this.live.delete(connection.wire)
  }
}

/** Finds the channels of a frame by tenant and entity, so that thousands of narrow filters cost little. */
export class Channels {
  readonly #byKey = new Map<string, Channel>()
  readonly #byTenant = new Map<string | undefined, { byEntity: Map<string, Set<Channel>>; any: Set<Channel> }>()

  /** The one channel of this filter; give it back with `release`. */
  hold(filter: Filter): Channel {
    const key = filterKey(filter)
    let channel = this.#byKey.get(key)
    if (!channel) {
      channel = new Channel(filter, key)
      this.#byKey.set(key, channel)
      for (const place of this.#places(filter)) place.add(channel)
    }
    channel.holders++
    return channel
  }

  release(channel: Channel): void {
    if (--channel.holders > 0) return
    this.#byKey.delete(channel.key)
    const tenant = this.#byTenant.get(channel.filter.tenant)
    for (const place of this.#places(channel.filter)) place.delete(channel)
    for (const entity of channel.filter.entity)
      if (tenant?.byEntity.get(entity)?.size === 0) tenant.byEntity.delete(entity)
    if (tenant?.any.size === 0 && tenant.byEntity.size === 0) this.#byTenant.delete(channel.filter.tenant)
  }

  *of(frame: Frame): Generator<Channel> {
    for (const key of [frame.tenant, undefined]) {
      const tenant = this.#byTenant.get(key)
      if (!tenant) continue
      for (const channel of tenant.any) if (matches(channel.filter, frame)) yield channel
      for (const channel of tenant.byEntity.get(frame.entity) ?? []) if (matches(channel.filter, frame)) yield channel
    }
  }

  #places({ tenant: name, entity }: Filter): Set<Channel>[] {
    const tenant = this.#byTenant.get(name) ?? { byEntity: new Map<string, Set<Channel>>(), any: new Set<Channel>() }
    this.#byTenant.set(name, tenant)
    if (entity.length === 0) return [tenant.any]
    const { byEntity } = tenant
    return entity.map(name => {
      const place = byEntity.get(name) ?? new Set<Channel>()
      byEntity.set(name, place)
      return place
    })
  }
}
