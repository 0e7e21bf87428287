import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { SERVICES } from '../docker.ts'

interface Service {
  readonly image: string
  readonly ports: readonly string[]
  readonly volumes: readonly string[]
  readonly healthcheck?: { readonly test: readonly string[] }
}

const text = await readFile(new URL('../../docker-compose.yml', import.meta.url), 'utf8')
const { services, volumes }: { services: Record<string, Service>; volumes: object } = parse(text)

test.each(Object.entries(services))(
  '%s is pinned, healthy when it answers, and open to this machine alone',
  (_, service) => {
    expect(service.image).toMatch(/^[a-z/-]+:v?\d+(\.\d+)+/)
    expect(service.healthcheck?.test[0]).toBe('CMD-SHELL')
    expect(service.ports.filter(port => !port.startsWith('127.0.0.1:'))).toEqual([])
    for (const volume of service.volumes) expect(Object.keys(volumes)).toContain(volume.split(':')[0])
  },
)

test.each(Object.entries(SERVICES))('what is told of %s with Docker is where its service is', (_, { service, url }) => {
  const told = [...url.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => port)
  const published = services[service]?.ports.map(port => port.split(':')[1])
  expect(told.filter(port => !published?.includes(port))).toEqual([])
})
