import { afterAll, beforeAll, describe } from 'vitest'
import { admin } from './admin.ts'
import { append } from './append.ts'
import { crash } from './crash.ts'
import { fidelity } from './fidelity.ts'
import { casesOf } from './fixture.ts'
import type { Cluster, Harness } from './harness.ts'
import { lifecycle } from './lifecycle.ts'
import { owners } from './owners.ts'
import { read } from './read.ts'
import { reset } from './reset.ts'
import { retention } from './retention.ts'
import { retry } from './retry.ts'
import { sharing } from './sharing.ts'
import { state } from './state.ts'
import { subscribe } from './subscribe.ts'
import { tenants } from './tenants.ts'
import { transact } from './transact.ts'
import { writer } from './writer.ts'

export type { Cluster, Harness } from './harness.ts'

/**
 * The definition of the transport contract, as cases of vitest. A driver's test file calls it once; every promise that
 * the harness states is tested, and there is no way to skip a case.
 */
export function conformance(name: string, harness: Harness) {
  const { guarantees } = harness
  let cluster: Cluster
  const test = casesOf(() => cluster)

  describe(`${name} keeps the transport contract:`, () => {
    beforeAll(async () => {
      cluster = await harness.start()
    })
    afterAll(async () => cluster?.[Symbol.asyncDispose]())

    describe('a client', () => lifecycle(test, guarantees))
    describe('append', () => append(test))
    describe('a message', () => fidelity(test))
    describe('read', () => read(test))
    describe('subscribe', () => subscribe(test))
    describe('retry', () => retry(test))
    describe('sharing', () => sharing(test, guarantees))
    if (guarantees.exactlyOnce) {
      describe('transact', () => transact(test))
      describe('an owner', () => owners(test))
      describe('state', () => state(test))
    }
    if (guarantees.appendOnce) describe('writer', () => writer(test))
    describe('admin', () => admin(test))
    describe('a reset', () => reset(test))
    describe('retention', () => retention(test, guarantees))
    describe('tenants', () => tenants(test))
    if (guarantees.durable) crash(test, guarantees)
  })
}
