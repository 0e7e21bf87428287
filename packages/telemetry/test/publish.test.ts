import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { loadCatalogue, type TrackingMetric } from '@weft/schema'
import { open, type Transport } from '@weft/transport'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Counter, Histogram, publishMetrics, registry } from '../src/index.ts'

const TOPIC = { name: 'tracking.metrics.v1' }
const catalogue = await loadCatalogue()
let folder: string
let transport: Transport

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weft-publish-'))
  transport = await open(`embedded:${folder}`)
  await transport.admin.ensure(catalogue.specs().filter(spec => spec.topic.name === TOPIC.name))
})

afterEach(async () => {
  await transport[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
  for (const name of ['weft_publish_test_total', 'weft_publish_test']) registry.removeSingleMetric(name)
})

/** Records until `enough`. */
async function published(enough: (metrics: TrackingMetric[]) => boolean): Promise<TrackingMetric[]> {
  const stop = new AbortController()
  const found: TrackingMetric[] = []
  const codec = catalogue.codec('tracking.metrics.v1')
  for await (const batch of transport.read(TOPIC, { from: 'earliest', signal: stop.signal })) {
    for (const message of batch) found.push(codec.decode(message))
    if (enough(found)) stop.abort()
  }
  return found
}

test('what changed is published with its labels under the name of this process', async () => {
  const counter = new Counter({ name: 'weft_publish_test_total', help: 'x', labelNames: ['tenant'] })
  counter.inc({ tenant: 'aurora' }, 2)
  await using _publishing = publishMetrics(transport, catalogue, 'pipeline', {
    everyMs: 5,
    metrics: ['weft_publish_test_total', 'weft_not_there'],
  })
  const [first] = await published(metrics => metrics.length > 0)
  expect(first).toMatchObject({ metric_name: 'weft_publish_test_total', labels: { tenant: 'aurora' }, metric_value: 2 })
  expect(first?.service_id).toMatch(new RegExp(`^pipeline@.+-${process.pid}$`))
  counter.inc({ tenant: 'birch' })
  const both = await published(metrics => metrics.length > 1)
  expect(both.map(each => each.labels.tenant)).toEqual(['aurora', 'birch'])
})

test('a histogram is published as its buckets, sum and count', async () => {
  const histogram = new Histogram({ name: 'weft_publish_test', help: 'x', buckets: [0.5, 1] })
  histogram.observe(0.3)
  const publishing = publishMetrics(transport, catalogue, 'x', { everyMs: 5, metrics: ['weft_publish_test'] })
  await publishing[Symbol.asyncDispose]()
  const metrics = await published(found => found.length >= 5)
  const values = metrics.map(each => [each.metric_name, each.labels.le, each.metric_value])
  expect(values).toEqual([
    ['weft_publish_test_bucket', '0.5', 1],
    ['weft_publish_test_bucket', '1', 1],
    ['weft_publish_test_bucket', '+Inf', 1],
    ['weft_publish_test_sum', undefined, 0.3],
    ['weft_publish_test_count', undefined, 1],
  ])
})

test('a log that does not take them is told, and they come with a later round', async () => {
  const counter = new Counter({ name: 'weft_publish_test_total', help: 'x' })
  counter.inc(4)
  const failures: unknown[] = []
  const { promise: failed, resolve } = Promise.withResolvers<void>()
  let broken = true
  const flaky = Object.create(transport) as Transport
  flaky.append = (topic, messages, options) => {
    if (broken) return Promise.reject(new Error('the disk is full'))
    return transport.append(topic, messages, options)
  }
  await using _publishing = publishMetrics(flaky, catalogue, 'x', {
    everyMs: 5,
    metrics: ['weft_publish_test_total'],
    onError: error => {
      failures.push(error)
      resolve()
    },
  })
  await failed
  broken = false
  expect((await published(found => found.length > 0))[0]?.metric_value).toBe(4)
  expect(String(failures[0])).toContain('the disk is full')
})
